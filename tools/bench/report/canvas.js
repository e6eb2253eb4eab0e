/* What a chart draws with: text that fits, axes, marks that carry their number, labels that keep clear. */

const meter = document.createElement('canvas').getContext('2d');
const FAMILY = getComputedStyle(document.body).fontFamily;
function widthOf(string, strong = false) {
    meter.font = `${strong ? 650 : 400} 12px ${FAMILY}`;
    return meter.measureText(string).width;
}
function fit(string, width) {
    if (widthOf(string) <= width) return string;
    let keep = string.length;
    while (keep > 1 && widthOf(string.slice(0, keep) + '…') > width) keep--;
    return string.slice(0, keep) + '…';
}

/* ---- markers: each series has a colour and a shape ---- */

const polygon = (x, y, points) => 'M' + points.map(([dx, dy]) => `${x + dx} ${y + dy}`).join('L') + 'Z';
const star = (x, y, r, inner, points) => polygon(x, y, Array.from({length: 2 * points}, (_, i) => {
    const a = Math.PI * i / points - Math.PI / 2, size = i % 2 ? inner : r;
    return [size * Math.cos(a), size * Math.sin(a)];
}));
const cross = (r, w) => [[-w, -r], [w, -r], [w, -w], [r, -w], [r, w], [w, w], [w, r], [-w, r], [-w, w],
    [-r, w], [-r, -w], [-w, -w]];
const SHAPES = [
    (x, y, r) => `M${x - r} ${y}a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${- 2 * r} 0`,
    (x, y, r) => polygon(x, y, [[-r * .9, -r * .9], [r * .9, -r * .9], [r * .9, r * .9], [-r * .9, r * .9]]),
    (x, y, r) => polygon(x, y, [[0, -r * 1.25], [r * 1.2, r * .85], [-r * 1.2, r * .85]]),
    (x, y, r) => polygon(x, y, [[0, -r * 1.3], [r * 1.3, 0], [0, r * 1.3], [-r * 1.3, 0]]),
    (x, y, r) => polygon(x, y, [[0, r * 1.25], [r * 1.2, -r * .85], [-r * 1.2, -r * .85]]),
    (x, y, r) => polygon(x, y, cross(r * 1.15, r * .42)),
    (x, y, r) => star(x, y, r * 1.4, r * .6, 5),
    (x, y, r) => polygon(x, y, cross(r * 1.15, r * .42).map(([a, b]) => [(a - b) * .71, (a + b) * .71])),
];
const DIAMOND = SHAPES[3], FALLING = SHAPES[4];
const colourOf = series => `s${series.colour}`;
const dot = (series, x, y, r = 5.5) =>
    svg('path', {d: SHAPES[series.shape](x, y, r), class: `dot ${colourOf(series)}`});

/* ---- the canvas ---- */

function along(x1, y1, x2, y2) {
    const steps = Math.max(1, Math.ceil(Math.hypot(x2 - x1, y2 - y1) / 5));
    return Array.from(
        {length: steps + 1}, (_, i) => [x1 + (x2 - x1) * i / steps, y1 + (y2 - y1) * i / steps]);
}


/* Directions to look for a label's place: beside, above and below, then between. */
const AROUND = [0, 8, 12, 4, 14, 10, 2, 6, 15, 1, 13, 3, 9, 7, 11, 5].map(
    i => [Math.cos(Math.PI * i / 8), Math.sin(Math.PI * i / 8)]);

class Canvas {
    constructor(chart, width) {
        this.chart = chart;
        this.width = width;
        this.height = 0;  /* set by who draws */
        this.taken = [];  /* boxes that labels keep clear of: [left, top, right, bottom] */
        this.labels = []; /* those of labels, which leaders keep clear of */
    }

    add(name, attributes, ...children) {
        const node = svg(name, attributes, ...children);
        this.chart.append(node);
        return node;
    }

    line(x1, y1, x2, y2, kind) { return this.add('line', {x1, y1, x2, y2, class: kind}); }

    write(x, y, string, kind = '', anchor = 'start') {
        return this.add('text', {x, y, class: kind, 'text-anchor': anchor}, string);
    }

    /* A number of the rows, as what is seen of it, as attributes, as a tooltip's lines, as a row of the
     * table. */
    mark(row, path, value, what, shown, nodes, more = []) {
        const title = nameOf(row);
        const node = this.add('g', {
            ...source(row, path, value),
            class: 'mark',
            role: 'graphics-symbol img',
            tabindex: -1,
            'data-series': row.series.index,
            'aria-label': [title, `${what}: ${shown}`, ...more].join(', '),
        },
            ...nodes);
        tips.set(node, {title, what, shown, more});
        return node;
    }

    /* Ticks, grid and title of a horizontal axis under the box from top to bottom. */
    axisX(scale, top, bottom, title, format = plain) {
        let free = -Infinity;
        for (const tick of scale.ticks) {
            const x = scale(tick), half = widthOf(format(tick)) / 2;
            this.line(x, top, x, bottom, 'gridline');
            const at = Math.min(Math.max(x, half), this.width - half);
            if (at - half < free + 8) continue;
            this.write(at, bottom + 17, format(tick), 'soft', 'middle');
            free = at + half;
        }
        /* Beside the ticks where there is room, else under them. */
        const beside = Math.max(free, scale(scale.ticks.at(-1) ?? 0)) + 12;
        if (beside + widthOf(title) <= this.width)
            this.write(beside, bottom + 17, title, 'soft');
        else
            this.write(this.width, bottom + 35, title, 'soft', 'end');
        this.height = bottom + (beside + widthOf(title) <= this.width ? 24 : 40);
    }

    axisY(scale, left, right, title, format = plain) {
        for (const tick of scale.ticks) {
            this.line(left, scale(tick), right, scale(tick), 'gridline');
            this.write(left - 8, scale(tick) + 4, format(tick), 'soft', 'end');
        }
        this.write(0, 12, title, 'soft');
    }

    keepClear(left, top, right, bottom) { this.taken.push([left, top, right, bottom]); }

    keepLabel(...box) {
        this.keepClear(...box);
        this.labels.push(box);
    }

    keepPoint(x, y) { this.keepClear(x - 7, y - 7, x + 7, y + 7); }

    keepLineClear(...ends) {
        for (const [x, y] of along(...ends)) this.keepClear(x - 3, y - 3, x + 3, y + 3);
    }

    clearLine(...ends) {
        return along(...ends).every(([x, y]) => this.free(x - 1, y - 1, x + 1, y + 1, this.labels));
    }

    free(left, top, right, bottom, boxes = this.taken) {
        return !boxes.some(([l, t, r, b]) => left < r && right > l && top < b && bottom > t);
    }

    /* Writes a label beside a point, the nearest place that is free inside the bounds; farther ones get a
     * leader. False: there is none. */
    label(x, y, string, bounds, kind = 'halo') {
        const width = widthOf(string, true), height = 14;
        for (const far of [0, 12, 26, 42, 60, 80])
            for (const [dx, dy] of AROUND) {
                const gap = 10 + far, cx = x + dx * gap, cy = y + dy * gap;
                const left = dx > .1 ? cx :
                    dx < -.1         ? cx - width :
                                       cx - width / 2,
                      top = cy - height / 2 + dy * 4;
                if (left < bounds[0] || top < bounds[1] || left + width > bounds[2] ||
                    top + height > bounds[3])
                    continue;
                if (!this.free(left - 3, top - 1, left + width + 3, top + height + 1)) continue;
                const leader = [x + dx * 7, y + dy * 7, cx - dx * 3, cy - dy * 2];
                if (far && !this.clearLine(...leader)) continue;
                this.keepLabel(left - 3, top - 1, left + width + 3, top + height + 1);
                if (far) {
                    this.line(...leader, 'leader');
                    this.keepLineClear(...leader);
                }
                this.write(left, top + 11, string, kind);
                return true;
            }
        return false;
    }
}
