/* A chart's frame: title, legend, tooltips by mouse and keyboard, the numbers as a table, full screen. */

const tips = new WeakMap(); /* mark: what its tooltip says */
const tip = document.getElementById('tip');
let picked = null; /* index of the series that a legend has picked */

function showTip(node, x, y) {
    const {title, what, shown, more} = tips.get(node);
    tip.replaceChildren(el('b', {}, title), `${what}: ${shown}`, ...more.flatMap(line => [el('br'), line]));
    tip.hidden = false;
    const box = tip.getBoundingClientRect();
    tip.style.left = `${Math.max(8, Math.min(innerWidth - box.width - 8, x + 14))}px`;
    tip.style.top = `${y - box.height - 14 > 8 ? y - box.height - 14 : y + 18}px`;
    node.setAttribute('aria-describedby', 'tip');
}
function hideTip() {
    tip.hidden = true;
    document.querySelectorAll('[aria-describedby=tip]')
        .forEach(node => node.removeAttribute('aria-describedby'));
}

/* One stop of the Tab key a chart; arrows go from mark to mark. */
function reach(chart) {
    const marks = () => [...chart.querySelectorAll('.mark')];
    const of = event => event.target.closest?.('.mark');
    chart.addEventListener('pointermove', event => {
        if (of(event))
            showTip(of(event), event.clientX, event.clientY);
        else
            hideTip();
    });
    chart.addEventListener('pointerleave', hideTip);
    chart.addEventListener('focusin', event => {
        if (!of(event)) return;
        const box = of(event).getBoundingClientRect();
        showTip(of(event), box.left + box.width / 2, box.top);
    });
    chart.addEventListener('focusout', hideTip);
    chart.addEventListener('keydown', event => {
        const list = marks(), at = list.indexOf(of(event));
        const to = {
            ArrowRight: at + 1,
            ArrowDown: at + 1,
            ArrowLeft: at - 1,
            ArrowUp: at - 1,
            Home: 0,
            End: list.length - 1
        };
        if (at < 0 || !(event.key in to)) return;
        event.preventDefault();
        const next = list[(to[event.key] + list.length) % list.length];
        list[at].setAttribute('tabindex', -1);
        next.setAttribute('tabindex', 0);
        next.focus();
    });
}

function showPicked() {
    document.body.classList.toggle('picked', picked !== null);
    document.querySelectorAll('[data-series]').forEach(node => {
        node.classList.toggle('pick', Number(node.dataset.series) === picked);
        if (node.matches('button')) node.setAttribute('aria-pressed', Number(node.dataset.series) === picked);
    });
}
function pick(index) {
    picked = picked === index ? null : index;
    showPicked();
}

function seriesLegend(rows) {
    const names = naming(rows);
    const series = [...grouped(rows, row => row.series).values()].map(list => list[0]);
    if (series.length < 2) return null;
    return el('div', {class: 'legend'}, ...series.map(row => {
        const one = row.series;
        const button = el('button',
            {type: 'button', 'data-series': one.index, 'aria-pressed': 'false', title: 'show this one'},
            svg('svg', {viewBox: '0 0 16 16', 'aria-hidden': 'true'}, dot(one, 8, 8)), names.series(row));
        button.addEventListener('click', () => pick(one.index));
        return button;
    }));
}

/* The marks of a chart as a table, for those who cannot see it; made when opened. */
function numbersOf(chart, title) {
    const box = el('details', {class: 'numbers'}, el('summary', {}, 'Numbers of this chart'));
    box.addEventListener('toggle', () => {
        box.querySelector('table')?.remove();
        if (!box.open) return;
        const lines = [...chart.querySelectorAll('.mark')].map(node => tips.get(node));
        box.append(el('table', {}, el('caption', {class: 'hidden'}, title),
            el('thead', {},
                el('tr', {}, ...['row', 'number', 'value'].map(h => el('th', {scope: 'col'}, h)))),
            el('tbody', {},
                ...lines.map(line => el('tr', {}, el('th', {scope: 'row'}, line.title),
                                 el('td', {}, line.what), el('td', {class: 'n'}, line.shown))))));
    });
    return box;
}

/* ---- full screen, a slide a chart ---- */

const BIG = 1.55; /* how much larger text and marks are there */
function enlarge(figure) {
    const before = document.querySelector('figure.big');
    before?.classList.remove('big');
    if (figure && figure !== before) figure.classList.add('big');
    document.querySelectorAll('figure').forEach(one => {
        const button = one.querySelector('header button');
        button.textContent = one.matches('.big') ? '×' : '⤢';
        button.setAttribute('aria-expanded', one.matches('.big'));
    });
    document.querySelector('figure.big header button')?.focus();
    if (before && !document.querySelector('figure.big')) before.querySelector('header button').focus();
}
document.addEventListener('keydown', event => {
    const big = document.querySelector('figure.big');
    if (event.key === 'Escape' && !tip.hidden)
        hideTip();
    else if (event.key === 'Escape')
        enlarge(null);
    if (!big || !['PageDown', 'PageUp'].includes(event.key)) return;
    const all = [...document.querySelectorAll('figure')], step = event.key === 'PageDown' ? 1 : -1;
    event.preventDefault();
    enlarge(all[(all.indexOf(big) + step + all.length) % all.length]);
});

/* Adds a chart to a section's grid. draw(canvas) draws at canvas.width and sets canvas.height; it is called
 * again when the width changes. */
function figure(grid, {id, title, names, sub = [], legend, wide}, draw) {
    const chart =
        svg('svg', {class: 'chart', role: 'graphics-document group', 'aria-labelledby': `${id}-title`});
    const plot = el('div', {class: 'plot'}, chart);
    const button = el('button', {
        type: 'button',
        'aria-label': `Full screen: ${title}`,
        'aria-expanded': 'false',
        title: 'full screen; then Page Up, Page Down, Esc'
    },
        '⤢');
    const frame = el('figure', {id, class: wide ? 'card wide' : 'card', 'aria-labelledby': `${id}-title`},
        el('header', {}, el('h3', {id: `${id}-title`}, title), button),
        names?.common || sub.some(Boolean) ?
            el('p', {class: 'sub'}, names?.common && el('b', {}, names.common), ' ', ...sub) :
            null,
        legend, plot, numbersOf(chart, title));
    button.addEventListener('click', () => enlarge(frame));
    reach(chart);
    grid.append(frame);
    let drawn = 0;
    const redraw = () => {
        const big = frame.matches('.big'),
              width = Math.max(240, Math.floor(plot.clientWidth / (big ? BIG : 1)));
        if (width === drawn || !plot.clientWidth) return;
        drawn = width;
        const canvas = new Canvas(chart, width);
        canvas.tall = big ? Math.floor((innerHeight * 0.94 - (plot.offsetTop || 0) - 60) / BIG) : 0;
        chart.replaceChildren();
        draw(canvas);
        chart.setAttribute('viewBox', `0 0 ${width} ${canvas.height}`);
        chart.querySelector('.mark')?.setAttribute('tabindex', 0);
        showPicked();
    };
    redraw();
    new ResizeObserver(redraw).observe(plot);
}

/* A section whose charts fill(grid) adds; without any there is no section. */
function section(id, title, note, fill) {
    const grid = el('div', {class: 'grid'});
    const node = el('section', {id, 'aria-labelledby': `${id}-h`}, el('h2', {id: `${id}-h`}, title),
        note ? el('p', {class: 'note'}, note) : null, grid);
    document.getElementById('main').append(node);
    fill(grid);
    if (!grid.childElementCount) node.remove();
}
