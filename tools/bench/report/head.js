/* The head of the page: what was measured, on what, and what it says in a sentence. */

const LIMITS = {
    read: 'memory bandwidth',
    f32: 'the f32 limit',
    f16: 'the f16 limit',
    bf16: 'the bf16 limit',
    int8: 'the int8 limit'
};
const MAX_DEVICES = 4; /* more than that are read together */

const both = list => list.length < 2 ? list.join('') : `${list.slice(0, -1).join(', ')} and ${list.at(-1)}`;
const figureOf = (row, path, shown) => el('b', source(row, path, result(row, path)), shown);

/* "58 to 60 % of the int8 limit" */
function share(rows) {
    const sorted = [...rows].sort((a, b) => result(a, 'roofline.percent') - result(b, 'roofline.percent'));
    const low = sorted[0], high = sorted.at(-1), path = 'roofline.percent';
    const bounds = distinct(rows.map(row => text(row, 'roofline.bound')));
    const of = bounds.length === 1 && LIMITS[bounds[0]] || 'the limit by the roofline';
    const same = percent(result(low, path)) === percent(result(high, path));
    return [
        ...(same ? [] : [figureOf(low, path, percent(result(low, path)).replace(' %', '')), ' to ']),
        figureOf(high, path, percent(result(high, path))), ` of ${of}`
    ];
}

/* What one device's plain rows of a kind reach: parts of a sentence, without the verb. */
function clause(rows, kind) {
    const known = having(plainest(rows.filter(row => row.kind === kind)), 'roofline.percent');
    return known.length ? {name: kindTitle(kind).toLowerCase(), share: share(known)} : null;
}

const capital = string => string.charAt(0).toUpperCase() + string.slice(1);

/* "On cpu:0, prefill reaches 58 % of the int8 limit, decode 81 to 84 % of memory bandwidth." */
function sentence(rows, where) {
    const [first, second] = ['pp', 'tg'].map(kind => clause(rows, kind)).filter(Boolean);
    if (!first) return null;
    const start = where ? `${where}, ${first.name}` : capital(first.name);
    return el('p', {}, `${start} reaches `, ...first.share, second && `, ${second.name} `,
        ...(second ? second.share : []), '.');
}

/* "Prefill runs at 216 tokens/s, decode at 73.1 tokens/s": all that can be said without a roofline. */
function speedSentence(rows) {
    const plain = ['pp', 'tg'].map(kind => having(plainest(rows.filter(row => row.kind === kind)), 'avg_ts'));
    const lists = plain.filter(list => list.length);
    if (!lists.length) return el('p', {}, 'No row has a speed.');
    const parts = lists.flatMap((list, i) => {
        const best = list.reduce((a, b) => result(b, 'avg_ts') > result(a, 'avg_ts') ? b : a);
        const name = kindTitle(best.kind);
        return [
            i ? `, ${name.toLowerCase()} at ` : `${name} runs at `, list.length > 1 && 'up to ',
            figureOf(best, 'avg_ts', rate(result(best, 'avg_ts')))
        ];
    });
    return el('p', {}, ...parts, '. How far that is from the limit is not known: no roofline.');
}

function reading(rows) {
    const places = [...grouped(rows.filter(row => row.ok), row => row.place).values()];
    const together = places.length > MAX_DEVICES ? sentence(rows, `Across ${places.length} devices`) : null;
    const each = together ? [together] :
                            places.map(list => sentence(list, places.length > 1 && `On ${list[0].device}`));
    const known = each.filter(Boolean);
    return el('div', {class: 'reading'}, ...(known.length ? known : [speedSentence(rows)]));
}

/* Large numbers for a run of one model on one device. */
function tiles(rows) {
    if (allSeries.length !== 1) return null;
    const plain = plainest(rows.filter(row => row.ok));
    const wanted = [
        ['pp', 'avg_ts', 'Prefill', 'tokens/s'], ['tg', 'avg_ts', 'Decode', 'tokens/s'],
        ['pp', 'ttft_ms.p50', 'First token, p50', 'ms'], ['tg', 'itl_ms.p99', 'Between tokens, p99', 'ms'],
        ['tg', 'energy.joules_per_token', 'Energy, decode', 'J/token']
    ];
    const found = wanted
                      .map(([kind, path, title, unit]) => {
                          const row = having(plain, path).find(one => one.kind === kind);
                          return row &&
                              el('div', {class: 'tile'}, el('span', {}, `${title} (${row.test})`),
                                  el('b', source(row, path, result(row, path)), compact(result(row, path)),
                                      el('small', {}, unit)));
                      })
                      .filter(Boolean);
    return found.length ? el('div', {class: 'tiles'}, ...found) : null;
}

/* ---- facts ---- */

const listed = (rows, read, limit = 4) => {
    const values = distinct(rows.map(read).filter(Boolean));
    return values.length > limit ? [...values.slice(0, limit), `and ${values.length - limit} more`] : values;
};
const fullModel = row => row.modelName === row.model ? row.model : `${row.modelName} (${row.model})`;

function when(rows) {
    const times = rows.map(row => text(row, 'test_time')).filter(Boolean).sort();
    const shown = time => time.replace('T', ' ').replace(/:\d\d(\.\d+)?Z$/, ' UTC');
    if (!times.length) return [];
    const first = shown(times[0]), last = shown(times.at(-1));
    return [first === last ? first : `${first} to ${last}`];
}

function facts(rows) {
    const build = row => [text(row, 'engine'), text(row, 'build_commit')].filter(Boolean).join(' ');
    const shown = rows.filter(row => row.ok).length;
    const table = [
        ['Model', 'Models', listed(rows, fullModel)],
        ['Machine', 'Machines', listed(rows, machineOf)],
        ['Device', 'Devices', listed(rows, deviceTitle)],
        ['Build', 'Builds', listed(rows, build)],
        ['Numerics', 'Numerics', listed(rows, row => text(row, 'options.numerics'))],
        ['Measured', 'Measured', when(rows)],
        ['Rows', 'Rows', [shown === rows.length ? `${shown}` : `${rows.length}, ${shown} with a speed`]],
    ];
    return el('dl', {class: 'facts'},
        ...table.filter(([, , values]) => values.length)
            .map(([one, many, values]) => el('div', {}, el('dt', {}, values.length > 1 ? many : one),
                     ...values.map(value => el('dd', {}, value)))));
}

function problems(rows) {
    const bad = rows.filter(row => !row.ok);
    if (!bad.length) return null;
    return el('div', {class: 'problems', role: 'note'},
        el('b', {}, `${bad.length} of ${rows.length} rows ${bad.length > 1 ? 'have' : 'has'} no speed`),
        el('ul', {},
            ...bad.map(
                row => el('li', {}, el('span', {class: 'badge'}, `${MARKS[row.status] || '?'} ${row.status}`),
                    ` ${nameOf(row)}`, text(row, 'reason') ? `: ${text(row, 'reason')}` : ''))));
}

function head(rows, json) {
    const models = listed(rows, row => row.modelName, 99);
    const title = !rows.length ? 'Nothing was measured' :
        models.length < 3      ? both(models) :
                                 `${models.length} models`;
    const devices = listed(rows, row => deviceName(row) || row.device, 99);
    const on = devices.length && devices.length < 4 ? ` on ${both(devices)}` :
        devices.length ? ` on ${devices.length} devices` :
                         '';
    document.title = `${title}${on}: halyard bench`;
    const top = document.getElementById('top');
    top.append(
        el('p', {class: 'overline'}, 'halyard bench'), el('h1', {}, title, el('span', {class: 'muted'}, on)));
    if (!rows.length) {
        top.append(el('p', {class: 'reading'}, 'This report has no rows.'));
        return;
    }
    top.append(
        ...[reading(rows), problems(rows), tiles(rows), facts(rows), jsonButtons(json)].filter(Boolean));
}
