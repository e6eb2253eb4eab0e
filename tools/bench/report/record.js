/* The record: everything that must be known to repeat or doubt a number. */

function copyButton(title, content) {
    const said = el('span', {role: 'status', class: 'muted'});
    const button = el('button', {type: 'button'}, title);
    button.addEventListener('click', async () => {
        try {
            await navigator.clipboard.writeText(content);
            said.textContent = 'copied';
        } catch {
            said.textContent = copyBySelection(content) ? 'copied' : 'the browser did not let it be copied';
        }
        setTimeout(() => said.textContent = '', 2500);
    });
    return [button, said];
}

/* For browsers that keep the clipboard from pages of files. */
function copyBySelection(content) {
    const area = el('textarea', {class: 'hidden', 'aria-hidden': 'true'});
    area.value = content;
    document.body.append(area);
    area.select();
    const done = document.execCommand('copy');
    area.remove();
    return done;
}

function jsonButtons(json) {
    const save = el('button', {type: 'button', id: 'save'}, 'Download JSON');
    save.addEventListener('click', () => {
        const link = el('a', {
            href: URL.createObjectURL(new Blob([json], {type: 'application/json'})),
            download: 'halyard-bench.json'
        });
        link.click();
        setTimeout(() => URL.revokeObjectURL(link.href), 10000);
    });
    return el('div', {class: 'buttons'}, ...copyButton('Copy JSON', json), save);
}

const quoted = word => /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replace(/'/g, `'\\''`)}'`;
function commandOf(row) {
    const words = field(row, 'argv');
    return Array.isArray(words) && words.length ?
        ['halyard', ...words.map(word => quoted(String(word)))].join(' ') :
        null;
}

/* "1-4, 7" of row numbers counted from 1. */
function ranges(rows) {
    const runs = [];
    for (const n of rows.map(row => row.index + 1)) {
        if (runs.length && runs.at(-1)[1] === n - 1)
            runs.at(-1)[1] = n;
        else
            runs.push([n, n]);
    }
    return (rows.length > 1 ? 'rows ' : 'row ') + runs.map(([a, b]) => a === b ? a : `${a}–${b}`).join(', ');
}

/* Leaves of a nested value as lines of names and values; lists of plain values stay on one line. */
function leaves(value, name = '') {
    if (Array.isArray(value) && value.every(item => item === null || typeof item !== 'object'))
        return [[name, value.join(', ')]];
    if (value !== null && typeof value === 'object')
        return Object.entries(value).flatMap(([key, item]) => leaves(item, name ? `${name}.${key}` : key));
    return [[name, value === null ? '–' : String(value)]];
}

function recordPart(title, rows, read) {
    const groups = grouped(rows.filter(row => read(row) !== null), row => JSON.stringify(read(row)));
    if (!groups.size) return null;
    return el('details', {}, el('summary', {}, title + (groups.size > 1 ? ` (${groups.size})` : '')),
        ...[...groups.values()].flatMap(
            list => [el('h4', {}, ranges(list)),
                el('dl', {}, ...leaves(read(list[0])).flatMap(([name,
                    value]) => [el('dt', {}, name || title.toLowerCase()), el('dd', {}, value)]))]));
}

function commands(rows) {
    const groups = grouped(rows.filter(commandOf), commandOf);
    if (!groups.size) return null;
    return el('details', {open: ''}, el('summary', {}, 'To repeat it'),
        ...[...groups].flatMap(
            ([command, list]) => [groups.size > 1 ? el('h4', {}, ranges(list)) : null, el('pre', {}, command),
                el('div', {class: 'buttons'}, ...copyButton('Copy command', command))]));
}

function recordSection(rows) {
    const whole = path => row => field(row, path);
    const imported = row => row.status !== 'imported' ?
        null :
        Object.fromEntries(
            Object.entries(row.json).filter(([, value]) => value !== null && typeof value !== 'object'));
    const parts = [
        ['Machine', whole('machine')], ['GPU', whole('gpu')], ['Device', whole('device_info')],
        ['Build', whole('build')], ['Options', whole('options')], ['Model', whole('model')],
        ['Kernels', whole('kernels')], ['Verification', whole('verify')], ['Imported rows', imported]
    ];
    document.getElementById('main').append(el('section',
        {id: 'record', class: 'record', 'aria-labelledby': 'record-h'}, el('h2', {id: 'record-h'}, 'Record'),
        commands(rows), ...parts.map(([title, read]) => recordPart(title, rows, read)).filter(Boolean)));
}

/* On paper everything is open. */
function openForPrint() {
    let closed = [];
    addEventListener('beforeprint', () => {
        closed = [...document.querySelectorAll('.record details:not([open])')];
        closed.forEach(part => part.open = true);
    });
    addEventListener('afterprint', () => closed.forEach(part => part.open = false));
}
