/* Which charts there are, and what stands in each. */

const KIND_ORDER = ['pp', 'tg', 'pg', 'serve'];
const having = (rows, path) => rows.filter(row => present(result(row, path)));
const mark = (as, row, path, what, format, more) => {
    const at = result(row, path);
    return present(at) ? {as, at, path, what, shown: format(at), more} : null;
};
const rate = n => `${compact(n)} tokens/s`;
const ms = n => `${compact(n)} ms`;
const kindTitle = kind => KINDS[kind] || kind;

/* ---- speed against the limit ---- */

const MANY = 16; /* lines above which only the plain tests are charted */

/* Without depth and parallel sequences, as far as a series has such rows. */
function plainest(rows) {
    return [...grouped(rows, row => `${row.series.index} ${row.shape}`).values()].flatMap(list => {
        const least = Math.min(...list.map(row => row.parallel * 1e9 + row.depth));
        return list.filter(row => row.parallel * 1e9 + row.depth === least);
    });
}

function speedLine(row, names) {
    const mean = result(row, 'avg_ts'), sd = result(row, 'stddev_ts'),
          share = result(row, 'roofline.percent');
    const spread = mark('spread', row, 'stddev_ts', 'standard deviation', rate);
    if (spread) spread.from = mean;
    return {
        row,
        label: names.of(row),
        marks: [
            mark('limit', row, 'roofline.limit_ts', 'limit by the roofline', rate),
            mark('bar', row, 'avg_ts', 'mean', rate,
                [sd && `± ${beside(sd, mean)}`, present(share) && `${percent(share)} of the limit`].filter(
                    Boolean)),
            sd ? spread : null
        ].filter(present),
        cells: [compact(mean), sd ? `± ${beside(sd, mean)}` : '', present(share) ? percent(share) : '–'],
    };
}

function speedCharts(grid, rows) {
    for (const kind of distinct([...KIND_ORDER, ...rows.map(row => row.kind)])) {
        const all = having(rows, 'avg_ts').filter(row => row.kind === kind);
        const list = all.length > MANY ? plainest(all) : all;
        for (const part of panels(list, row => result(row, 'avg_ts'))) {
            if (!part.rows.length) continue;
            const names = naming(part.rows, part.suffix), left = all.length - list.length;
            listChart(grid, {
                id: `speed-${kind}${part.id}`,
                title: kindTitle(kind) + part.suffix,
                names,
                sub: [left > 0 && `${left} rows with depth or more sequences stand below.`],
                lines: part.rows.map(row => speedLine(row, names)),
                columns: [{title: 'tokens/s'}, {title: ''}, {title: 'of limit'}],
                axis: 'zero',
                unit: 'tokens/s',
            });
        }
    }
}

/* ---- tokens/s along depth and batch ---- */

function curveCharts(grid, rows, x) {
    const fixed = x === 'depth' ? 'parallel' : 'depth';
    const name = x === 'depth' ? 'depth' : 'batch';
    const usable = having(rows, 'avg_ts').filter(row => row.kind !== 'serve');
    for (const [, list] of grouped(usable, row => `${row.shape} ${row[fixed]}`)) {
        const lines = [...grouped(list, row => row.series).values()].filter(
            line => distinct(line.map(row => row[x])).length > 1);
        for (const part of panels(lines.flat(), row => result(row, 'avg_ts'))) {
            const one = part.rows[0];
            if (!one) continue;
            const where = x === 'depth' ? one.parallel > 1 && `, ${one.parallel} sequences` :
                                          one.depth && ` at depth ${one.depth}`;
            curves(grid, {
                id: `${name}-${one.shape}-${one[fixed]}${part.id}`.replace(/[^\w-]/g, '-'),
                title: `${kindTitle(one.kind)} (${one.shape}) against ${name}${where || ''}${part.suffix}`,
                names: naming(part.rows, part.suffix),
                rows: part.rows,
                x,
                unit: x === 'depth' ? 'tokens in the context before the test' : 'parallel sequences',
            });
        }
    }
}

/* ---- latency ---- */

function quantileLine(row, path, samples, what, names) {
    const at =
        ['p50', 'p90', 'p99'].map(p => mark(p, row, `${path}.${p}`, `${what}, ${p}`, ms)).filter(present);
    const values = samples ? results(row, samples) : null;
    const strip = values && {as: 'strip', values, path: samples, what, shown: `${values.length} samples`};
    const span = at.length > 1 && !values && {as: 'span', from: at[0].at, at: at.at(-1).at};
    const count = result(row, `${path}.count`);
    return {
        row,
        label: names.of(row) + (present(count) ? `  (${count})` : ''),
        marks: [strip, span, ...at].filter(Boolean),
        cells: ['p50', 'p90', 'p99'].map(
            p => present(result(row, `${path}.${p}`)) ? compact(result(row, `${path}.${p}`)) : '–'),
    };
}

function latencyChart(grid, rows, {id, title, path, samples, what}) {
    const list = rows.filter(row => present(result(row, `${path}.p50`)) || samples && results(row, samples));
    for (const part of panels(list, row => result(row, `${path}.p50`) || 1))
        latencyPanel(grid, part, {id, title, path, samples, what});
}

function latencyPanel(grid, {rows: list, suffix, id: place}, {id, title, path, samples, what}) {
    const names = naming(list, suffix);
    listChart(grid, {
        id: id + place,
        title: title + suffix,
        names,
        wide: samples && list.length > 3,
        lines: list.map(row => quantileLine(row, path, samples, what, names)),
        columns: [
            {title: 'p50', shape: (x, y) => `M${x - 1.5} ${y - 6}h3v12h-3Z`}, {title: 'p90', shape: DIAMOND},
            {title: 'p99', shape: FALLING}
        ],
        axis: 'spread',
        unit: 'ms',
    });
}

function latencyCharts(grid, rows) {
    latencyChart(grid, rows, {
        id: 'itl',
        title: 'Between tokens (ITL)',
        path: 'itl_ms',
        samples: 'samples_itl_ms',
        what: 'time between tokens'
    });
    latencyChart(grid, rows,
        {id: 'ttft', title: 'To the first token (TTFT)', path: 'ttft_ms', what: 'time to first token'});
    latencyChart(
        grid, rows, {id: 'e2e', title: 'Whole request', path: 'serve.e2e_ms', what: 'time of a request'});
    latencyChart(grid, rows,
        {id: 'queue', title: 'Waiting in the queue', path: 'serve.queue_ms', what: 'time in the queue'});
}

/* ---- prediction, energy, cost: one number a row ---- */

function barCharts(grid, rows, {id, title, path, unit, format}) {
    const list = having(rows, path);
    for (const part of panels(list, row => result(row, path))) {
        const names = naming(part.rows, part.suffix);
        listChart(grid, {
            id: id + part.id,
            title: title + part.suffix,
            names,
            axis: 'zero',
            unit,
            columns: [{title: unit}],
            lines: part.rows.map(row => ({
                row,
                label: names.of(row),
                marks: [mark('bar', row, path, title, format)],
                cells: [compact(result(row, path))]
            })),
        });
    }
}

function predictionChart(grid, rows) {
    const list =
        having(rows, 'prediction.ratio')
            .filter(row => result(row, 'prediction.ratio') > 0 && present(result(row, 'prediction.ts')));
    const names = naming(list);
    listChart(grid, {
        id: 'prediction-ratio',
        title: 'Measured over predicted',
        axis: 'ratio',
        unit: 'measured / predicted',
        names,
        columns: [{title: 'ratio'}, {title: 'predicted'}, {title: 'measured'}],
        lines: list.map(row => ({
            row,
            label: names.of(row),
            cells: [
                result(row, 'prediction.ratio').toFixed(2), compact(result(row, 'prediction.ts')),
                present(result(row, 'median_ts')) ? compact(result(row, 'median_ts')) : '–'
            ],
            marks: [mark('dot', row, 'prediction.ratio', 'measured / predicted', n => n.toFixed(3),
                [`predicted ${rate(result(row, 'prediction.ts'))}`])],
        })),
    });
}

function energyCharts(grid, rows) {
    for (const kind of KIND_ORDER)
        barCharts(grid, rows.filter(row => row.kind === kind), {
            id: `energy-${kind}`,
            title: kindTitle(kind),
            path: 'energy.joules_per_token',
            unit: 'J / token',
            format: n => `${compact(n)} J/token`
        });
}

function costCharts(grid, rows) {
    for (const [id, title] of [['in', 'Tokens in (prefill)'], ['out', 'Tokens out (decode)']])
        barCharts(grid, rows, {
            id: `cost-${id}`,
            title,
            path: `cost.usd_per_million_${id}`,
            unit: '$ / million',
            format: n => `$${compact(n)}`
        });
}

/* ---- memory: the plan's parts, and the peak that was seen ---- */

const PARTS = [
    ['weights', 'weights'], ['state', 'KV cache and state'], ['activations', 'activations'],
    ['step', 'step block'], ['host', 'host heap']
];
const planOf = row => Array.isArray(field(row, 'memory.plan')) ? field(row, 'memory.plan') : [];

function planTotal(row, i) {
    return PARTS.reduce((sum, [part]) => sum + (number(row, `memory.plan.${i}.${part}`) || 0), 0);
}

function memoryLine(row, i, names) {
    let from = 0;
    const device = text(row, `memory.plan.${i}.device`) || row.device;
    const parts = PARTS.map(([part, title], k) => {
        const m = mark('part', row, `memory.plan.${i}.${part}`, title, bytes);
        if (!m || !m.at) return null;
        Object.assign(m, {from, part: `p${k}`});
        from += m.at;
        return m;
    });
    /* What a CPU plans is resident memory; what another device does is its own. */
    const peak = mark('peak', row, /^(cpu|ref)/.test(device) ? 'memory.resident_peak' : 'memory.device_peak',
        'peak', bytes);
    return {
        row,
        label: [names.of(row), device !== row.device && device].filter(Boolean).join(' · '),
        marks: [...parts, peak].filter(present),
        cells: [peak ? bytes(peak.at) : '–', bytes(from)],
    };
}

/* Of each series the row that plans most: the others need no more than it. */
function memoryChart(grid, rows) {
    const planned = rows.filter(row => row.ok && planOf(row).some((_, i) => planTotal(row, i) > 0));
    const most = row => planOf(row).reduce((sum, _, i) => sum + planTotal(row, i), 0);
    const list = [...grouped(planned, row => row.series).values()].map(
        group => group.reduce((a, b) => most(b) > most(a) ? b : a));
    if (!list.length) return;
    const names = naming(list), large = Math.max(...list.map(most)) >= 2 ** 29;
    listChart(grid, {
        id: 'memory-plan',
        title: 'Planned and seen',
        axis: 'zero',
        unit: large ? 'GiB' : 'MiB',
        per: large ? 2 ** 30 : 2 ** 20,
        names,
        legend: el('div', {class: 'legend'},
            ...PARTS.map(([, title], k) => el('span', {class: 'key'},
                             svg('svg', {viewBox: '0 0 16 16', 'aria-hidden': 'true'},
                                 svg('rect', {x: 1, y: 2, width: 14, height: 12, class: `part p${k}`})),
                             title))),
        columns: [{title: 'peak'}, {title: 'plan'}],
        lines: list.flatMap(
            row => planOf(row).map((_, i) => memoryLine(row, i, names)).filter(line => line.marks.length)),
    });
}

/* ---- all of them ---- */

function charts(rows) {
    section('speed', 'Speed and limit',
        'A bar is the mean ± the standard deviation. Pale, up to the line: what the roofline allows this row.',
        grid => speedCharts(grid, rows));
    section('roofline', 'Roofline',
        'A point is a row: operations a second over operations for each byte moved. Where it meets the slope, ' +
            "memory sets the limit; where it meets a flat line, arithmetic does. Per cent are of the row's own limit.",
        grid => [...grouped(rows, row => row.place).values()].forEach(
            (list, i, all) => roofline(grid, `roofline-${i}`, list,
                all.length > 1 || deviceName(list[0]) ? ` of ${deviceTitle(list[0])}` : '')));
    section('scaling', 'Depth and batch', 'Mean ± standard deviation; of several sequences, all together.',
        grid => {
            curveCharts(grid, rows, 'depth');
            curveCharts(grid, rows, 'parallel');
        });
    section('latency', 'Latency', 'A dot is one step. In brackets: how many were measured.',
        grid => latencyCharts(grid, rows));
    section('prediction', 'Prediction and measurement',
        'The prediction knows the roofline alone. Band: ± 10 %.', grid => predictionChart(grid, rows));
    section('energy', 'Energy', null, grid => energyCharts(grid, rows));
    section('memory', 'Memory',
        'Of each model and device the row that needs most. The line is the peak that was seen.',
        grid => memoryChart(grid, rows));
    section('cost', 'Cost per million tokens', null, grid => costCharts(grid, rows));
}

function deviceTitle(row) {
    const name = deviceName(row);
    return name && name !== row.device ? `${row.device}, ${name}` : row.device;
}
