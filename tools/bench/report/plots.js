/* The plots with two axes: the roofline, and tokens/s along depth or batch. */

/* ---- roofline: Williams, Waterman and Patterson 2009, doi:10.1145/1498765.1498785 ---- */

const CEILINGS = ['f32', 'f16', 'bf16', 'int8'];
const intensity = row => result(row, 'flops_per_token') / result(row, 'bytes_per_token.total');
const onRoofline = row => result(row, 'gflops') > 0 && Number.isFinite(intensity(row)) && intensity(row) > 0;

/* The roofs over a device's points: the median of each over its rows. */
function roofsOf(rows) {
    const find = (name, path) => {
        const row = medianRow(rows, path);
        return row && result(row, path) > 0 ? {name, path, row, value: result(row, path)} : null;
    };
    const read = find('read', 'roofline.read_gbps');
    const ceilings = CEILINGS.map(name => find(name, `roofline.${name}_gflops`)).filter(present);
    return {read, ceilings: ceilings.sort((a, b) => b.value - a.value)};
}

function rooflineScales(c, points, {read, ceilings}, box) {
    const xs = points.map(intensity), ys = points.map(row => result(row, 'gflops'));
    if (read) ceilings.forEach(roof => xs.push(roof.value / read.value));
    const x = logarithmic(Math.min(...xs) / 3, Math.max(...xs) * 4, box.left, box.right);
    const roofs = ceilings.map(roof => roof.value);
    const low = Math.min(...ys, ...roofs.map(v => v / 2)) / 4, high = Math.max(...ys, ...roofs) * 1.9;
    const tera = high > 5e4; /* the axis counts thousands of G */
    return {
        x,
        tera,
        y: logarithmic(low, high, box.bottom, box.top, 34),
        low,
        from: Math.min(...xs) / 3,
        to: Math.max(...xs) * 4
    };
}

function drawCeilings(c, {read, ceilings}, s, box) {
    for (const roof of ceilings) {
        const start = read ? s.x(roof.value / read.value) : box.left, y = s.y(roof.value);
        c.mark(roof.row, roof.path, roof.value, `${roof.name} ceiling`, `${compact(roof.value)} G/s`, [
            svg('line', {x1: start, x2: box.right, y1: y, y2: y, class: 'roof'}),
            svg('line', {x1: start, x2: box.right, y1: y, y2: y, class: 'hit wide'})
        ]);
        c.keepClear(start, y - 2, box.right, y + 2);
    }
    nameCeilings(c, ceilings, s, box);
}

/* Near ceilings share a label, "f16 783 · bf16 779", as far to the right as points allow. */
function nameCeilings(c, ceilings, s, box) {
    const labels = [];
    for (const roof of ceilings) {
        const y = s.y(roof.value), label = `${roof.name} ${compact(roof.value / (s.tera ? 1000 : 1))}`;
        if (labels.length && y - labels.at(-1).y < 17)
            labels.at(-1).text += ` · ${label}`;
        else
            labels.push({y, text: label});
    }
    for (const {y, text: label} of labels) {
        const width = widthOf(label) + 8;
        const places =
            [y - 18, y + 3].flatMap(top => Array.from({length: 40}, (_, i) => [box.right - 2 - 8 * i, top]));
        const [right, top] =
            places.find(([x, t]) => x - width > box.left + 40 && c.free(x - width, t, x, t + 15)) ||
            places[0];
        c.write(right - 4, top + 13, label, 'soft halo', 'end');
        c.keepLabel(right - width, top, right, top + 16);
    }
}

/* Under the roofs; drawn first, beneath the grid. */
function shade(c, {read, ceilings}, ends, box) {
    const [[x1, y1], [x2, y2]] = ends, right = ceilings.length ? box.right : x2;
    c.add('path', {class: 'under', d: `M${x1} ${box.bottom}V${y1}L${x2} ${y2}H${right}V${box.bottom}Z`});
}

/* Where the slope of memory begins, at an edge of the plot, and where it ends, at the highest ceiling. */
function slopeEnds({read, ceilings}, s) {
    const on = v => [s.x(v / read.value), s.y(v)];
    return [
        on(Math.max(s.from * read.value, s.low)), on(ceilings.length ? ceilings[0].value : s.y.ticks.at(-1))
    ];
}

function drawSlope(c, read, [[x1, y1], [x2, y2]], points) {
    c.mark(read.row, read.path, read.value, 'memory reads', `${compact(read.value)} GB/s`,
        [svg('line', {x1, y1, x2, y2, class: 'roof'}), svg('line', {x1, y1, x2, y2, class: 'hit wide'})]);
    c.keepLineClear(x1, y1, x2, y2);
    const string = `read ${compact(read.value)} GB/s`,
          half = widthOf(string) / 2 / Math.hypot(x2 - x1, y2 - y1);
    const at = t => [x1 + (x2 - x1) * t, y1 + (y2 - y1) * t];
    const room = t => Math.min(...points.map(([px, py]) => Math.hypot(px - at(t)[0], py - at(t)[1])));
    /* Along the slope, where points are far; the middle if that is as good. */
    const places = [0.5, 0.4, 0.6, 0.3, 0.7, 0.2, 0.8].filter(t => t > half && t < 1 - half);
    const t = places.reduce((a, b) => room(b) > room(a) + 12 ? b : a, 0.5), [x, y] = at(t);
    const angle = Math.atan2(y2 - y1, x2 - x1), up = [12 * Math.sin(angle), -12 * Math.cos(angle)];
    c.write(x, y - 7, string, 'soft halo', 'middle')
        .setAttribute('transform', `rotate(${angle * 180 / Math.PI} ${x} ${y})`);
    for (const [px, py] of along(...at(t - half), ...at(t + half)))
        c.keepLabel(px + up[0] - 6, py + up[1] - 6, px + up[0] + 6, py + up[1] + 6);
}

function roofline(grid, id, rows, suffix) {
    const points = rows.filter(onRoofline), roofs = roofsOf(rows);
    if (!points.length) return;
    const without = rows.filter(row => row.ok).length - points.length;
    const missing = roofs.read || roofs.ceilings.length ?
        '' :
        `No roof: ${rows.map(row => text(row, 'roofline_reason')).find(present) || 'not probed'}.`;
    figure(grid, {
        id,
        title: `Roofline${suffix}`,
        legend: seriesLegend(points),
        sub: [missing, without > 0 && ` Not shown: ${without} with unknown bytes or operations.`],
    },
        c => {
            const high = c.tall || Math.min(460, Math.max(350, c.width * 0.6));
            const box = {left: 62, right: c.width - 2, top: 26, bottom: high - 42};
            const s = rooflineScales(c, points, roofs, box);
            const places = points.map(row => [s.x(intensity(row)), s.y(result(row, 'gflops'))]);
            const slope = roofs.read && slopeEnds(roofs, s);
            if (slope) shade(c, roofs, slope, box);
            c.axisX(s.x, box.top, box.bottom, 'FLOP / byte');
            c.axisY(
                s.y, box.left, box.right, s.tera ? 'TFLOP/s' : 'GFLOP/s', v => plain(s.tera ? v / 1000 : v));
            places.forEach(place => c.keepPoint(...place));
            if (slope) drawSlope(c, roofs.read, slope, places);
            drawCeilings(c, roofs, s, box);
            drawPoints(c, points, s, [box.left + 2, box.top - 12, box.right, box.bottom]);
        });
}

function drawPoints(c, points, s, bounds) {
    const placed = points.map(row => ({row, x: s.x(intensity(row)), y: s.y(result(row, 'gflops'))}));
    for (const {row, x, y} of placed) {
        const share = result(row, 'roofline.percent'), bound = text(row, 'roofline.bound');
        c.mark(row, 'gflops', result(row, 'gflops'), 'achieved', `${compact(result(row, 'gflops'))} GFLOP/s`,
             [
                 svg('circle', {cx: x, cy: y, r: 11, class: 'hit'}),
                 svg('circle', {cx: x, cy: y, r: 10, class: 'ring'}), dot(row.series, x, y)
             ],
             [
                 `${compact(intensity(row))} FLOP/byte`, present(share) && `${percent(share)} of its limit`,
                 bound && `bound: ${bound}`
             ].filter(Boolean))
            .dataset.x = intensity(row);
    }
    for (const {x, y, rows} of clusters(placed)) {
        const shares = rows.map(row => result(row, 'roofline.percent')).filter(present).sort((a, b) => a - b);
        const name = rows[0].test + (rows.length > 1 ? ` (${rows.length})` : ''),
              range = distinct([shares[0], shares.at(-1)].filter(present).map(percent));
        if (!range.length ||
            !c.label(x, y, `${name}  ${range.join(' to ').replace(' % to', ' to')}`, bounds, 'strong halo'))
            c.label(x, y, name, bounds, 'strong halo');
    }
}

/* Points of one test that lie on each other share a label. */
function clusters(placed) {
    const found = [];
    for (const {row, x, y} of placed) {
        const near =
            found.find(one => one.rows[0].test === row.test && Math.hypot(one.x - x, one.y - y) < 18);
        if (near)
            near.rows.push(row);
        else
            found.push({x, y, rows: [row]});
    }
    return found;
}

/* ---- tokens/s along depth or batch ---- */

/* x: 'depth' or 'parallel'. Several rows of a series at one x: the line passes through their mean. */
function curves(grid, {id, title, names, sub, rows, x, unit}) {
    figure(grid, {id, title, names, sub, legend: seriesLegend(rows)}, c => {
        const high = c.tall || Math.min(380, Math.max(260, c.width * 0.5));
        const values = distinct(rows.map(row => row[x])).sort((a, b) => a - b);
        const top = Math.max(...rows.map(row => result(row, 'avg_ts') + (result(row, 'stddev_ts') || 0)));
        const box = {left: 16 + widthOf(compact(top)), right: c.width - 8, top: 26, bottom: high - 42};
        const y = linear(0, top * 1.1, box.bottom, box.top, 46);
        const sx = x === 'depth' ? linear(0, values.at(-1), box.left + 10, box.right - 14) :
                                   logarithmic(values[0] / 1.15, values.at(-1) * 1.15, box.left, box.right);
        sx.ticks = values;
        c.axisX(sx, box.top, box.bottom, unit);
        c.axisY(y, box.left, box.right, 'tokens/s');
        c.line(box.left, box.bottom, box.right, box.bottom, 'baseline');
        for (const series of grouped(rows, row => row.series)) drawCurve(c, series, x, sx, y);
        drawCurvePoints(c, rows, x, sx, y, [box.left, 0, c.width, box.bottom]);
    });
}

function drawCurve(c, [series, rows], x, sx, y) {
    const means = [...grouped(rows, row => row[x])].sort(([a], [b]) => a - b).map(([at,
        list]) => [sx(at), y(list.reduce((sum, row) => sum + result(row, 'avg_ts'), 0) / list.length)]);
    c.add('path', {
        class: `curve ${colourOf(series)} d${series.dash}`,
        'data-series': series.index,
        d: 'M' + means.map(point => point.join(' ')).join('L')
    });
    means.slice(1).forEach(([x2, y2], i) => {
        const [x1, y1] = means[i];
        c.keepLineClear(x1, y1, x2, y2);
    });
}

function drawCurvePoints(c, rows, x, sx, y, bounds) {
    const placed = rows.map(row => ({row, px: sx(row[x]), py: y(result(row, 'avg_ts'))}));
    placed.forEach(({px, py}) => c.keepPoint(px, py));
    for (const {row, px, py} of placed) {
        const mean = result(row, 'avg_ts'), sd = result(row, 'stddev_ts');
        if (sd)
            c.mark(row, 'stddev_ts', sd, 'standard deviation', `${compact(sd)} tokens/s`, [svg('path', {
                class: 'whisker',
                d: `M${px} ${y(mean - sd)}V${y(mean + sd)}M${px - 4} ${y(mean - sd)}h8M${px - 4} ${
                    y(mean + sd)}h8`
            })]);
        c.mark(row, 'avg_ts', mean, 'mean', `${compact(mean)} tokens/s`,
             [
                 svg('circle', {cx: px, cy: py, r: 11, class: 'hit'}),
                 svg('circle', {cx: px, cy: py, r: 10, class: 'ring'}), dot(row.series, px, py)
             ],
             sd ? [`± ${beside(sd, mean)}`] : [])
            .dataset.x = row[x];
    }
    for (const {row, px, py} of placed) c.label(px, py, compact(result(row, 'avg_ts')), bounds);
}
