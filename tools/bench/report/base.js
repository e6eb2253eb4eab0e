/* Elements, numbers as text, scales. */

const NS = 'http://www.w3.org/2000/svg';

/* Text from the rows enters the page here only: as text nodes and attribute values, never as markup. */
function build(node, attributes, children) {
    for (const [name, value] of Object.entries(attributes || {}))
        if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value);
    node.append(...children.filter(child => child || child === ''));
    return node;
}
const el = (name, attributes, ...children) => build(document.createElement(name), attributes, children);
const svg = (name, attributes, ...children) =>
    build(document.createElementNS(NS, name), attributes, children);

/* The attributes by which a number on the page is found again in the JSON: the row's place in the array, the
 * field's path, and the number as it stands there. */
const source = (row, field, value) => ({'data-row': row.index, 'data-field': field, 'data-value': value});

/* ---- numbers as text ---- */

function compact(n) {
    const size = Math.abs(n);
    if (n === 0) return '0';
    if (size >= 1e9 || size < 1e-3) return n.toExponential(2).replace('e+', 'e');
    if (size >= 99.95) return n.toLocaleString('en-US', {maximumFractionDigits: 0});
    if (size < 0.0995) return String(Number(n.toPrecision(3)));
    return n.toFixed(size >= 9.995 ? 1 : size >= 0.9995 ? 2 : 3);
}
/* A deviation with as many decimals as its mean. */
const beside = (sd, mean) => {
    const decimals = (compact(mean).split('.')[1] || '').length;
    return sd < 0.5 / 10 ** decimals || /e/.test(compact(mean)) ?
        String(Number(sd.toPrecision(1))) :
        sd.toLocaleString('en-US', {minimumFractionDigits: decimals, maximumFractionDigits: decimals});
};
const percent = n => `${n < 9.95 ? n.toFixed(1) : n.toFixed(0)} %`;
const plain = n => n.toLocaleString('en-US', {maximumFractionDigits: 12});
function bytes(n) {
    const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
    let i = 0;
    while (n >= 1000 && i < units.length - 1) n /= 1024, i++;
    return `${n >= 99.95 || i === 0 ? n.toFixed(0) : n >= 9.995 ? n.toFixed(1) : n.toFixed(2)} ${units[i]}`;
}

/* ---- scales: a function from a value to a pixel, with its ticks, at least two, about `gap` apart ---- */

function linear(from, to, start, end, gap = 80) {
    if (to === from) to = from + (Math.abs(from) || 1);
    const scale = v => start + (v - from) / (to - from) * (end - start);
    const rough = (to - from) / Math.max(1, Math.floor(Math.abs(end - start) / gap));
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = power * [1, 2, 5, 10].find(m => m * power >= rough * 0.999);
    scale.ticks = [];
    for (let i = Math.ceil(from / step - 1e-9); i * step <= to + step * 1e-9; i++)
        scale.ticks.push(Number((i * step).toPrecision(12)));
    return scale.ticks.length > 1 || gap < 8 ? scale : linear(from, to, start, end, gap / 2);
}

function logarithmic(from, to, start, end, gap = 46) {
    const a = Math.log10(from), b = Math.log10(to);
    const scale = v => start + (Math.log10(v) - a) / (b - a) * (end - start);
    const decade = Math.abs(end - start) / (b - a);
    const steps = decade > 5 * gap ? [1, 2, 3, 5, 7] : decade > 3.4 * gap ? [1, 2, 5] : [1];
    const skip = Math.ceil(gap / decade);
    scale.ticks = [];
    for (let e = Math.floor(a); e <= b; e++)
        for (const m of steps)
            if (e % skip === 0 && m * 10 ** e >= from && m * 10 ** e <= to)
                scale.ticks.push(Number((m * 10 ** e).toPrecision(3)));
    if (scale.ticks.length < 2) scale.ticks = linear(from, to, start, end, gap).ticks;
    return scale;
}

/* ---- sets ---- */

const distinct = values => [...new Set(values)];
const present = value => value !== null;
function grouped(items, key) {
    const groups = new Map();
    for (const item of items) {
        const k = key(item), group = groups.get(k);
        if (group)
            group.push(item);
        else
            groups.set(k, [item]);
    }
    return groups;
}
