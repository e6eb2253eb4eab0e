/* The rows as the charts want them: what was measured, under which name, in which series. */

const field = (row, path) => path.split('.').reduce((at, name) => at?.[name] ?? null, row.json);
const text = (row, path) => {
    const value = field(row, path);
    return typeof value === 'string' && value !== '' ? value : null;
};
const BOUND = 1e30; /* nothing that is measured here is below 0 or near this */
const isNumber = value => typeof value === 'number' && value >= 0 && value < BOUND;
const number = (row, path) => isNumber(field(row, path)) ? field(row, path) : null;
/* A result: null for a row that may not show one. */
const result = (row, path) => row.ok || row.status === 'predicted' && path === 'prediction.ts' ? number(row, path) : null;
const results = (row, path) => {
    const values = row.ok ? field(row, path) : null;
    return Array.isArray(values) && values.length && values.every(isNumber) ? values : null;
};

const KINDS = {
    pp: 'Prefill',
    tg: 'Decode',
    pg: 'Prefill and decode',
    serve: 'Serving'
};

const fileName = path => path && path.split(/[\\/]/).pop();
const modelOf = row =>
    text(row, 'model_type') || text(row, 'model.name') || fileName(text(row, 'model_filename')) || 'model';
const deviceOf = row => text(row, 'device') || text(row, 'devices') || text(row, 'gpu_info') ||
    text(row, 'cpu_info') || text(row, 'backends') || 'device';
const deviceName = row => text(row, 'device_info.name') || text(row, 'gpu_info') || text(row, 'cpu_info');
const machineOf = row => text(row, 'cpu_info');

function kindOf(row) {
    const kind = text(row, 'kind');
    if (kind) return kind;
    const prompt = number(row, 'n_prompt') > 0, gen = number(row, 'n_gen') > 0;
    return prompt && gen ? 'pg' : prompt ? 'pp' : 'tg';
}

/* The test without depth and batch: "pp512+tg128". */
function shapeOf(row) {
    const prompt = number(row, 'n_prompt'), gen = number(row, 'n_gen');
    if (row.kind === 'serve' || !prompt && !gen) return text(row, 'test') || row.kind;
    return [prompt && `pp${prompt}`, gen && `tg${gen}`].filter(Boolean).join('+');
}

/* What makes a series, most telling first. Model and device name every series once they differ anywhere; the
 * others only those that they tell apart. What a row does not say does not tell it apart. */
const MODEL = 0, DEVICE = 1;
const IDENTITY = [
    modelOf,
    deviceOf,
    row => text(row, 'engine'),
    deviceName,
    machineOf,
    row => text(row, 'model.name'),
    row => fileName(text(row, 'model_filename')),
    row => text(row, 'build_commit'),
    row => text(row, 'options.numerics'),
    row => text(row, 'options.isa'),
    row => text(row, 'type_k') && `KV ${text(row, 'type_k')}/${text(row, 'type_v')}`,
    row => present(number(row, 'n_threads')) && `${number(row, 'n_threads')} threads`,
    row => present(number(row, 'n_batch')) && `batch ${number(row, 'n_batch')}/${number(row, 'n_ubatch')}`,
    row => present(number(row, 'n_gpu_layers')) && `${number(row, 'n_gpu_layers')} layers on GPU`,
    row => field(row, 'flash_attn') === false && 'no flash attention',
];

/* Our own engine goes without saying. */
const joined = parts => parts.filter(part => part && part !== 'halyard').join(' · ');

function nameSeries(rows) {
    let groups = rows.length ? [rows] : [];
    rows.forEach(row => row.parts = IDENTITY.map(() => ''));
    IDENTITY.forEach((part, i) => {
        const names = group => distinct(group.map(part).filter(Boolean));
        const everywhere = i === MODEL || i === DEVICE && names(rows).length > 1;
        groups = groups.flatMap(group => {
            const known = names(group);
            if (!everywhere && known.length < 2) return [group];
            group.forEach(row => row.parts[i] = part(row) || (known.length === 1 ? known[0] : ''));
            return [...grouped(group, row => row.parts[i]).values()];
        });
    });
    groups.sort((a, b) => a[0].index - b[0].index);
    return groups.map((group, index) => {
        const parts = group[0].parts, series = {parts, index, name: joined(parts)};
        group.forEach(row => row.series = series);
        return series;
    });
}

/* Colour and shape of each series. More of them than there are colours: a colour for each model (or device,
 * when there are more of those), and shapes that differ within a colour and between neighbours. */
const STYLES = 8;
function styleSeries(all) {
    const kinds = part => distinct(all.map(series => series.parts[part]));
    const major = kinds(MODEL).length >= kinds(DEVICE).length ? MODEL : DEVICE, majors = kinds(major);
    for (const series of all) {
        const many = all.length > STYLES, m = many ? majors.indexOf(series.parts[major]) : series.index;
        const minor = many ?
            all.filter(other => other.index < series.index && other.parts[major] === series.parts[major])
                .length :
            0;
        Object.assign(series,
            {colour: m % STYLES, shape: (m + Math.floor(m / STYLES) + 3 * minor) % STYLES, dash: minor % 4});
    }
    return all;
}

/* Rows that say their model's name lend it to those of the same type that do not. */
function nameModels(rows) {
    for (const group of grouped(rows, row => row.model).values()) {
        const names = distinct(group.map(row => text(row, 'model.name')).filter(Boolean));
        group.forEach(row => row.modelName = text(row, 'model.name') ||
                (names.length === 1 ? names[0] : fileName(text(row, 'model_filename')) || row.model));
    }
}

/* The middle row by one of its numbers, the lower of two: a median that is a number of the JSON. */
function medianRow(rows, path) {
    const having = rows.filter(row => present(result(row, path)));
    having.sort((a, b) => result(a, path) - result(b, path));
    return having.length ? having[Math.floor((having.length - 1) / 2)] : null;
}

function readRows(json) {
    const list = Array.isArray(json) ? json : [];
    const rows = [];
    list.forEach((item, index) => {
        if (item === null || typeof item !== 'object') return;
        const row = {json: item, index};
        row.status = text(row, 'status') || 'imported';
        row.ok = row.status === 'ok' || row.status === 'imported';
        row.kind = kindOf(row);
        row.model = modelOf(row);
        row.device = deviceOf(row);
        row.place = JSON.stringify([row.device, deviceName(row), machineOf(row)]);
        row.shape = shapeOf(row);
        row.depth = number(row, 'n_depth') || 0;
        row.parallel = number(row, 'n_parallel') || 1;
        row.test = text(row, 'test') ||
            row.shape + (row.depth ? ` @ d${row.depth}` : '') +
                (row.parallel > 1 ? ` x ${row.parallel}` : '');
        rows.push(row);
    });
    nameModels(rows);
    return rows;
}

const nameOf = row => manySeries ? `${row.test} · ${row.series.name}` : row.test;

/* Names of rows among themselves: what they share is `common`, what tells them apart is `of(row)`. */
function naming(rows, suffix = '') {
    const shared = i => rows.every(row => row.series.parts[i] === rows[0].series.parts[i]);
    const byTest =
        distinct(rows.map(row => row.test)).length > 1 || distinct(rows.map(row => row.series)).length === 1;
    const own = IDENTITY.map((_, i) => i).filter(i => rows.length && !shared(i));
    const both = IDENTITY.map((_, i) => i)
                     .filter(i => rows.length && manySeries && shared(i) && !(suffix && i === DEVICE));
    const parts = (row, list) => joined(list.map(i => row.series.parts[i]));
    return {
        common: rows.length ? joined([byTest ? '' : rows[0].test, parts(rows[0], both)]) : '',
        series: row => parts(row, own) || row.series.name,
        of: row => joined([byTest ? row.test : '', parts(row, own)]),
    };
}

/* One group, or one for each device when a common scale from 0 would hide the slow ones. */
function panels(rows, value) {
    const values = rows.map(value).filter(v => v > 0);
    const places = grouped(rows, row => row.place);
    if (places.size < 2 || Math.max(...values) < 20 * Math.min(...values))
        return [{suffix: '', id: '', rows}];
    return [...places.values()].map(
        (list, i) => ({suffix: ` on ${list[0].device}`, id: `-${i}`, rows: list}));
}
