/* The list chart: a line a row with its name, marks along one axis, and numbers at the right.
 *
 * A line is {row, label, marks, cells}; a mark {as, at, from?, path, what, shown, more?}: `as` names a
 * painter below, `path` the field that holds `at`. */

const PAINT = {
    bar: (m, x, y, line) => [rect(x(0), x(m.at), y, line.thick, `bar ${colourOf(line.row.series)}`)],
    part: (m, x, y, line) => [rect(x(m.from), x(m.from + m.at), y, line.thick, `part ${m.part}`)],
    limit: (m, x, y, line) => [rect(x(0), x(m.at), y, line.thick, `track ${colourOf(line.row.series)}`),
        tick(x(m.at), y, 9, 'limit')],
    peak: (m, x, y) => [tick(x(m.at), y, 10, 'limit')],
    spread: (m, x, y) => [svg('path', {class: 'whisker', d: whisker(x(m.from - m.at), x(m.from + m.at), y)})],
    strip: (m, x, y, line) => [svg('path', {
        class: `strip ${colourOf(line.row.series)}`,
        d: m.values.map((v, i) => `M${x(v).toFixed(1)} ${(y + (i * 0.618034 % 1 - 0.5) * 18).toFixed(1)}h0`)
               .join('')
    })],
    p50: (m, x, y, line) => [tick(x(m.at), y, 10, `median ${colourOf(line.row.series)}`)],
    p90: (m, x, y,
        line) => [svg('path', {d: DIAMOND(x(m.at), y, 5), class: `dot ${colourOf(line.row.series)}`})],
    p99: (m, x, y,
        line) => [svg('path', {d: FALLING(x(m.at), y, 5), class: `dot ${colourOf(line.row.series)}`})],
    span: (m, x, y, line) => [svg(
        'line', {x1: x(m.from), x2: x(m.at), y1: y, y2: y, class: `span ${colourOf(line.row.series)}`})],
    dot: (m, x, y, line) => [dot(line.row.series, x(m.at), y, 6)],
};
const rect = (from, to, y, height, kind) =>
    svg('rect', {x: from, y: y - height / 2, width: Math.max(1, to - from), height, class: kind});
const tick = (x, y, half, kind) => svg('line', {x1: x, x2: x, y1: y - half, y2: y + half, class: kind});
/* Too short for caps, it is a blot: nothing is seen of it. */
const whisker = (from, to, y) =>
    to - from < 4 ? `M${from} ${y}h0` : `M${from} ${y}H${to}M${from} ${y - 4}v8M${to} ${y - 4}v8`;

/* zero: lengths are compared. spread: places are, on a logarithmic axis when they differ much. ratio:
 * around 1. Ticks are round multiples of `per`. */
function listScale(kind, lines, left, right, per) {
    const all =
        lines.flatMap(line => line.marks.flatMap(m => m.values || [m.at + (m.as === 'part' ? m.from : 0)]));
    const low = Math.min(...all), high = Math.max(...all);
    if (kind === 'zero') {
        const scale = linear(0, high / per * 1.02, left, right, 50);
        return Object.assign(v => scale(v / per), {ticks: scale.ticks.map(v => v * per)});
    }
    if (kind === 'ratio') {
        const far = Math.max(1.25, high * 1.03, 1.03 / low);
        return far > 3 ? logarithmic(1 / far, far, left, right) :
                         linear(Math.max(0, 2 - far), far, left, right, 60);
    }
    if (low > 0 && high > 6 * low) return logarithmic(low / 1.25, high * 1.25, left, right);
    const pad = Math.max((high - low) * 0.06, (high * 0.08 - high + low) / 2) ||
        1; /* noise is not blown up to the full width */
    return linear(low - pad, high + pad, left, right, 50);
}

function listLayout(c, lines, columns) {
    const wide = c.width >= 560, keys = distinct(lines.map(line => line.row.series)).length > 1 ? 18 : 0;
    const widths = columns.map((column, i) => 14 +
            Math.max(widthOf(column.title) + (column.shape ? 14 : 0),
                ...lines.map(line => widthOf(line.cells[i], true))));
    const names = Math.min(12 + keys + Math.max(...lines.map(line => widthOf(line.label))), c.width * 0.4);
    const top = columns.length ? 24 : 6, usual = wide ? 27 : 44;
    const pitch = Math.max(usual, Math.min(1.8 * usual, ((c.tall || 0) - top - 44) / lines.length));
    return {
        wide,
        keys,
        widths,
        top,
        left: wide ? names : 0,
        names: wide ? names : c.width,
        right: c.width - widths.reduce((sum, w) => sum + w, 0) - 2,
        pitch,
        thick: 14 * pitch / usual,
    };
}

function columnHeads(c, columns, at) {
    let x = at.right;
    columns.forEach((column, i) => {
        x += at.widths[i];
        c.write(x, 12, column.title, 'soft', 'end');
        if (column.shape)
            c.add('path', {d: column.shape(x - widthOf(column.title) - 9, 8, 4), class: 'dot p0'});
    });
}

function drawLine(c, line, at, scale, y) {
    line.thick = at.thick;
    const middle = at.wide ? y + at.pitch / 2 : y + at.pitch - 16;
    const base = at.wide ? middle + 4 : y + 13;
    if (at.keys) c.add('g', {'data-series': line.row.series.index}, dot(line.row.series, 7, base - 4, 5));
    const name = c.write(at.keys || (at.wide ? 0 : 6), base, fit(line.label, at.names - at.keys - 8), 'halo');
    name.append(svg('title', {}, line.label));
    for (const m of line.marks) {
        const nodes = PAINT[m.as](m, scale, middle, line);
        if (m.path)
            c.mark(line.row, m.path, m.values ? m.values.join(' ') : m.at, m.what, m.shown, nodes, m.more);
        else
            c.add('g', {'data-series': line.row.series.index}, ...nodes);
    }
    let x = at.right;
    line.cells.forEach(
        (cell, i) => c.write(x += at.widths[i], middle + 4, cell, i ? 'soft' : 'strong', 'end'));
}

function listChart(grid, {id, title, names, sub, legend, wide, lines, columns, axis, unit, per = 1}) {
    if (!lines.length) return;
    figure(grid, {id, title, names, sub, legend, wide}, c => {
        const at = listLayout(c, lines, columns), bottom = at.top + lines.length * at.pitch + 2;
        const scale = listScale(axis, lines, at.left, at.right, per);
        columnHeads(c, columns, at);
        if (axis === 'ratio')
            c.add('rect', {
                x: scale(0.9),
                width: scale(1.1) - scale(0.9),
                y: at.top,
                height: bottom - at.top,
                class: 'band'
            });
        c.axisX(scale, at.top, bottom, unit, v => plain(v / per));
        if (axis !== 'spread')
            c.line(scale(axis === 'ratio' ? 1 : 0), at.top, scale(axis === 'ratio' ? 1 : 0), bottom,
                axis === 'ratio' ? 'one' : 'baseline');
        lines.forEach((line, i) => drawLine(c, line, at, scale, at.top + i * at.pitch));
    });
}
