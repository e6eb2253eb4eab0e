/* The table of all rows, sorted by a click on a head. */

const numeric = (title, path, show = compact, unit = '', more = {}) =>
    ({title, path, show, unit, numeric: true, ...more});
const words = (title, value, more = {}) => ({title, value, show: String, unit: '', ...more});

const FLAGS = {
    noisy: 'the coefficient of variation is above 3 %',
    busy: 'other processes or the hypervisor took more than 2 % of the processors',
    throttled: 'the clock was held down by heat or power',
    drift: 'the probe of the memory moved by more than 10 % during the row',
    cut: 'the time limit came before the last repetition',
    unverified: 'there was nothing to compare the output with',
};
const flagsOf = row => (Array.isArray(field(row, 'flags')) ? field(row, 'flags') : []).map(String);

const COLUMNS = [
    words('test', row => row.test, {kind: 'test'}),
    words('model', row => row.model),
    words('device', row => row.device),
    words('engine', row => text(row, 'engine')),
    words('status', row => row.status, {kind: 'status'}),
    numeric('t/s', 'avg_ts', compact, 'tokens/s', {kind: 'speed'}),
    numeric('median', 'median_ts', compact, 'tokens/s'),
    numeric('of limit', 'roofline.percent', percent),
    words('bound', row => row.ok ? text(row, 'roofline.bound') : null),
    numeric('per token', 'ms_per_token', compact, 'ms'),
    numeric('TTFT p50', 'ttft_ms.p50', compact, 'ms'),
    numeric('p90', 'ttft_ms.p90', compact, 'ms'),
    numeric('p99', 'ttft_ms.p99', compact, 'ms'),
    numeric('ITL p50', 'itl_ms.p50', compact, 'ms'),
    numeric('p90', 'itl_ms.p90', compact, 'ms'),
    numeric('p99', 'itl_ms.p99', compact, 'ms'),
    numeric('memory', 'gbps', compact, 'GB/s'),
    numeric('compute', 'gflops', compact, 'GFLOP/s'),
    numeric('moved', 'bytes_per_token.total', bytes, 'per token'),
    numeric('predicted', 'prediction.ts', compact, 'tokens/s'),
    numeric('energy', 'energy.joules_per_token', compact, 'J/token'),
    numeric('resident', 'memory.resident_peak', bytes, 'peak'),
    numeric('on device', 'memory.device_peak', bytes, 'peak'),
    numeric('cost in', 'cost.usd_per_million_in', compact, '$/million'),
    numeric('cost out', 'cost.usd_per_million_out', compact, '$/million'),
    numeric('KL', 'verify.kl_mean', compact, 'mean'),
    numeric('size', 'model_size', bytes, '', {always: true}),
    numeric('parameters', 'model_n_params', n => `${compact(n / 1e9)} B`, '', {always: true}),
];
const valueOf = (column, row) => column.value ? column.value(row) :
    column.always                             ? number(row, column.path) :
                                                result(row, column.path);

const MARKS = {
    FAILED: '✕',
    error: '✕',
    skipped: '–',
    imported: '↓',
    predicted: '≈',
    ok: '✓'
};

function statusCell(row) {
    const badge =
        el('span', {class: row.ok ? 'muted' : 'badge'}, `${MARKS[row.status] || '?'} ${row.status}`);
    const reason = text(row, 'reason');
    return el('td', {class: reason && 'reason'}, badge, reason && `: ${reason}`,
        ...flagsOf(row)
            .map(flag => el('span', {class: 'flag', title: FLAGS[flag] || null}, '⚑ ', flag))
            .flatMap(node => [' ', node]));
}

function cell(column, row) {
    const value = valueOf(column, row);
    if (column.kind === 'status') return statusCell(row);
    const kind = column.numeric ? 'n' : column.kind;
    if (value === null) return el('td', {class: kind}, column.kind === 'speed' && !row.ok ? '–' : '');
    const node = el(
        'td', {class: kind, ...(column.numeric ? source(row, column.path, value) : {})}, column.show(value));
    if (column.numeric) node.setAttribute('title', plain(value));
    const sd = column.kind === 'speed' ? result(row, 'stddev_ts') : null;
    if (present(sd))
        node.append(el('span', {class: 'sd', ...source(row, 'stddev_ts', sd)}, ` ± ${beside(sd, value)}`));
    return node;
}

function compare(a, b) {
    if (a === null || b === null) return a === b ? 0 : a === null ? 1 : -1;
    return typeof a === 'number' ? a - b : String(a).localeCompare(String(b), 'en', {numeric: true});
}

function sortBy(table, column, head) {
    const falling = head.getAttribute('aria-sort') === 'ascending';
    table.querySelectorAll('th').forEach(other => other.removeAttribute('aria-sort'));
    head.setAttribute('aria-sort', falling ? 'descending' : 'ascending');
    const body = table.tBodies[0];
    const lines = [...body.rows].map(line => ({line, value: valueOf(column, allRows[line.dataset.at])}));
    lines.sort((a, b) => {
        const order = compare(a.value, b.value);
        return falling && a.value !== null && b.value !== null ? -order :
                                                                 order; /* what is unknown stays last */
    });
    body.append(...lines.map(entry => entry.line));
}

function rowTable(rows) {
    const columns = COLUMNS.filter(column => column.kind || rows.some(row => valueOf(column, row) !== null));
    const table = el('table', {class: 'rows'}, el('caption', {class: 'hidden'}, 'All rows'));
    const heads = columns.map(column => {
        const button = el('button', {type: 'button'}, column.title);
        const head = el('th', {scope: 'col', class: column.numeric ? 'n' : null}, button,
            el('small', {}, column.unit || ' '));
        button.addEventListener('click', () => sortBy(table, column, head));
        return head;
    });
    table.append(el('thead', {}, el('tr', {}, ...heads)),
        el('tbody', {},
            ...rows.map(
                (row, i) => el('tr', {id: `row-${row.index}`, 'data-at': i, class: row.ok ? null : 'failed'},
                    ...columns.map(column => cell(column, row))))));
    return table;
}

function tableSection(rows) {
    const flags = distinct(rows.flatMap(flagsOf));
    document.getElementById('main').append(el('section', {id: 'table', 'aria-labelledby': 'table-h'},
        el('h2', {id: 'table-h'}, 'All rows'),
        el('p', {class: 'note'},
            'Times are of whole engine steps: compute, copies, submission, waiting; not of loading, tokenizing or ' +
                'sampling. A click on a head sorts.'),
        el('div',
            {class: 'scroll card', tabindex: 0, role: 'region', 'aria-label': 'All rows, scrolls sideways'},
            rowTable(rows)),
        flags.length ? el('p', {class: 'note', id: 'flags'}, 'Flags: ',
                           ...flags.flatMap(flag => [el('span', {class: 'flag'}, '⚑ ', flag),
                                                FLAGS[flag] ? `${FLAGS[flag]}. ` : ' '])) :
                                                              null));
}
