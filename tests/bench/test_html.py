#!/usr/bin/env python3
"""The page of `halyard bench -o html`: test_html.py HTML_OF [CLASS...], all but Document in headless Chromium.
Screenshots are left in the build folder. Exits 77 when every test was skipped."""
import base64
import hashlib
import html.parser
import json
import math
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import browser  # noqa: E402
import make_rows  # noqa: E402
import png  # noqa: E402

HTML_OF = None
FOLDER = tempfile.mkdtemp(prefix='halyard-html-')
SHOTS = os.path.join(os.environ.get('HALYARD_BUILD', FOLDER), 'screenshots')
SIZES = ((360, 740), (820, 1180), (1600, 900))
HOSTILE = make_rows.HOSTILE
ROWS = make_rows.report()


def write_page(name, rows):
    """The page of these rows as a file of this name; its address."""
    path = os.path.join(FOLDER, name)
    with open(path + '.json', 'w', encoding='utf-8') as file:
        json.dump(rows, file)
    with open(path + '.html', 'wb') as file:
        subprocess.run([HTML_OF, path + '.json'], stdout=file, check=True)
    return 'file://' + path + '.html'


def at(row, path):
    for name in path.split('.'):
        row = row[int(name)] if isinstance(row, list) else (row or {}).get(name)
    return row


def has_speed(row):
    return row['status'] in ('ok', 'imported')


def indices(path, rows=ROWS):
    return sorted(i for i, row in enumerate(rows) if has_speed(row) and at(row, path) is not None)


class Parser(html.parser.HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.content, self.last = [], {}, None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.last = dict(attrs).get('id', tag)

    def handle_endtag(self, tag):
        self.last = None

    def handle_data(self, data):
        self.content[self.last] = self.content.get(self.last, '') + data


class Document(unittest.TestCase):
    """The file, without a browser."""

    def read(self, name, rows):
        with open(write_page(name, rows)[len('file://'):], encoding='utf-8') as file:
            return file.read()

    def test_rows_are_inside_and_escaped(self):
        rows = [{'s': HOSTILE + '<!-- <script> \u2028\u2029 & \u00fc \U0001f600 "\\',
                 'n': [1, 2.5, 1e-300, 2 ** 53, None, True]}]
        text = self.read('escape', rows)
        parsed = Parser(text)
        self.assertEqual(json.loads(parsed.content['rows']), rows)
        self.assertEqual(sum(tag == 'script' for tag, _ in parsed.tags), 2)
        self.assertNotIn('<', parsed.content['rows'])
        self.assertTrue(parsed.content['rows'].isascii())

    def test_nothing_is_fetched(self):
        text = self.read('alone', ROWS)
        parsed = Parser(text)
        for tag, attrs in parsed.tags:
            self.assertFalse({'src', 'href', 'srcset', 'action', 'onload', 'onerror', 'style'} & set(attrs), tag)
        own = text.replace(parsed.content['rows'], '')
        self.assertEqual(set(re.findall(r'https?://[^\s\'"]+', own)), {'http://www.w3.org/2000/svg'})
        for word in ('@import', 'url(', 'eval(', 'innerHTML', 'outerHTML', 'insertAdjacentHTML', 'document.write',
                     'fetch('):
            self.assertNotIn(word, own)

    def test_policy_allows_this_style_and_script_only(self):
        parsed = Parser(self.read('policy', []))
        policy = next(a['content'] for t, a in parsed.tags if a.get('http-equiv') == 'Content-Security-Policy')
        self.assertIn("default-src 'none'", policy)
        self.assertNotIn('unsafe', policy)
        for name in ('style', 'script'):
            digest = base64.b64encode(hashlib.sha256(parsed.content[name].encode()).digest()).decode()
            self.assertIn(f"{name}-src 'sha256-{digest}'", policy)

    def test_no_page_of_what_is_no_array(self):
        path = os.path.join(FOLDER, 'object.json')
        with open(path, 'w', encoding='utf-8') as file:
            file.write('{"rows": []}')
        done = subprocess.run([HTML_OF, path], capture_output=True)
        self.assertEqual((done.returncode, done.stdout), (1, b''))
        write_page('full', ROWS)
        with open('/dev/full', 'wb') as full:
            path = os.path.join(FOLDER, 'full.json')
            done = subprocess.run([HTML_OF, path], stdout=full, stderr=subprocess.DEVNULL)
        self.assertEqual(done.returncode, 1)


class PageTest(unittest.TestCase):
    """What the tests in the browser share: one browser, a tab for each page that is asked for."""
    browser = None

    @classmethod
    def setUpClass(cls):
        if not browser.find():
            raise unittest.SkipTest('no Chromium (Debian: chromium)')
        if PageTest.browser is None:
            PageTest.browser = browser.Browser(browser.find())
            unittest.addModuleCleanup(PageTest.browser.close)
            os.makedirs(SHOTS, exist_ok=True)

    def open(self, name, rows, width=1280, height=900, dark=False):
        page = browser.Page(self.browser, write_page(name, rows), width, height, dark)
        self.addCleanup(page.close)
        self.check_quiet(page)
        return page

    def check_quiet(self, page):
        """Asked for nothing but itself, complained of nothing, ran nothing of the rows."""
        asked = [event['request']['url'] for event in page.seen('Network.requestWillBeSent')]
        self.assertEqual([url for url in asked if not url.startswith('blob:')], [page.url])
        for event in ('Runtime.exceptionThrown', 'Log.entryAdded', 'Runtime.consoleAPICalled',
                      'Page.javascriptDialogOpening'):
            self.assertEqual(page.seen(event), [])
        self.assertEqual(page.run("document.querySelectorAll('img, iframe, object, link').length"), 0)


class ReportTest(PageTest):
    """Tests that share the page of ROWS."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.page = browser.Page(cls.browser, write_page(cls.__name__, ROWS))
        cls.addClassCleanup(cls.page.close)

    def tearDown(self):
        self.check_quiet(self.page)

    def count(self, selector):
        return self.page.run(f"document.querySelectorAll('{selector}').length")

    def text(self, selector):
        return self.page.run(f"document.querySelector('{selector}').innerText")

    def click(self, selector):
        self.page.run(f"document.querySelector('{selector}').click()")
        self.page.settle()

    def numbers(self, selector=''):
        """What the elements there say they show: row, field, value and, of points, x."""
        return self.page.run(f"[...document.querySelectorAll('{selector} [data-row]')].map(e => ({{...e.dataset}}))")


class Numbers(ReportTest):
    """What stands on the page is what stands in the JSON."""

    def test_every_number_is_that_of_the_json(self):
        numbers = self.numbers()
        self.assertGreater(len(numbers), 500)
        for number in numbers:
            row, path = ROWS[int(number['row'])], number['field']
            self.assertTrue(has_speed(row) or path.startswith('model_'), number)
            want = at(row, path)
            shown = [float(v) for v in number['value'].split(' ')]
            self.assertEqual(shown, want if isinstance(want, list) else [want], number)
            if 'x' in number:
                x = row['flops_per_token'] / row['bytes_per_token']['total'] if path == 'gflops' else None
                self.assertIn(float(number['x']), (x, row['n_depth'], row['n_parallel']), number)

    def test_each_chart_has_its_marks(self):
        """One for each row that has the number."""
        sections = {
            'speed': ['avg_ts', 'stddev_ts', 'roofline.limit_ts'],
            'roofline': ['gflops'],
            'latency': ['samples_itl_ms', 'itl_ms.p99', 'ttft_ms.p50', 'serve.e2e_ms.p90', 'serve.queue_ms.p99'],
            'prediction': ['prediction.ratio'],
            'energy': ['energy.joules_per_token'],
            'cost': ['cost.usd_per_million_in', 'cost.usd_per_million_out'],
            'table': ['avg_ts', 'stddev_ts', 'verify.kl_mean', 'memory.resident_peak', 'roofline.percent'],
        }
        for section, paths in sections.items():
            numbers = self.numbers('#' + section)
            for path in paths:
                got = sorted(int(number['row']) for number in numbers if number['field'] == path)
                self.assertEqual(got, indices(path), (section, path))
                self.assertTrue(got, path)

    def test_curves_have_the_rows_that_vary(self):
        """The small model's on both devices: first those along depth, then those along batch."""
        own = [i for i in indices('device') if ROWS[i]['kind'] != 'serve']
        small = [i for i in own if make_rows.SMALL in ROWS[i]['model']['name']]
        deep = [i for i in small if ROWS[i]['n_parallel'] == 1]
        wide = [i for i in small if ROWS[i]['n_depth'] == 0 and ROWS[i]['kind'] == 'tg']
        for prefix, rows in (('depth', deep), ('batch', wide)):
            numbers = self.numbers(f'#scaling [id^={prefix}-]')
            self.assertEqual(sorted(int(n['row']) for n in numbers if n['field'] == 'avg_ts'), rows)

    def test_roofs_are_medians(self):
        for figure, device in enumerate(make_rows.REPORTED):
            roofs = {n['field']: float(n['value']) for n in self.numbers(f'#roofline-{figure}') if '_g' in n['field']}
            for name in make_rows.ROOFS:
                path = f'roofline.{name}'
                values = sorted(at(ROWS[i], path) for i in indices(path) if ROWS[i]['device'] == device)
                if not values or name == 'write_gbps':
                    self.assertNotIn(path, roofs)
                else:
                    self.assertEqual(roofs[path], values[(len(values) - 1) // 2])

    def test_bars_are_as_long_as_their_numbers(self):
        """From the line under which the axis says 0."""
        charts = self.page.run("""
            [...document.querySelectorAll(':is(#speed, #energy, #cost, #memory) figure')].map(figure => ({
                line: figure.querySelector('.baseline').getBoundingClientRect().x,
                zero: [...figure.querySelectorAll('text')].filter(t => t.textContent === '0')
                    .map(t => t.getBoundingClientRect()).map(box => box.x + box.width / 2),
                bars: [...figure.querySelectorAll('.mark rect')].map(rect =>
                    [Number(rect.parentNode.dataset.value), rect.getBBox().width])}))""")
        self.assertGreater(len(charts), 8)
        for chart in charts:
            self.assertAlmostEqual(min(chart['zero']), chart['line'], delta=5)  # kept inside the chart's edge
            value, width = max(chart['bars'])
            for bar in chart['bars']:
                self.assertAlmostEqual(bar[1], max(1, width * bar[0] / value), delta=0.1)

    def test_points_and_roofs_lie_on_logarithmic_axes(self):
        for i in range(len(make_rows.REPORTED)):
            points = self.page.run(f"""
                [...document.querySelectorAll('#roofline-{i} [data-x]')].map(mark => [mark.dataset.x,
                    mark.dataset.value, ...['cx', 'cy'].map(name => mark.querySelector('circle').getAttribute(name))
                    ].map(Number))""")
            roofs = self.page.run(f"""
                [...document.querySelectorAll('#roofline-{i} [data-field$=_gflops]')].map(mark => [mark.dataset.value,
                    mark.querySelector('line').getAttribute('y1')].map(Number))""")
            first, last = min(points), max(points)

            def place(axis, value):
                share = math.log(value / first[axis]) / math.log(last[axis] / first[axis])
                return first[axis + 2] + share * (last[axis + 2] - first[axis + 2])

            for x, y, px, py in points:
                self.assertAlmostEqual(px, place(0, x), delta=0.1)
                self.assertAlmostEqual(py, place(1, y), delta=0.1)
            for value, py in roofs:
                self.assertAlmostEqual(py, place(1, value), delta=0.1)

    def test_failures_show_their_reason_and_no_speed(self):
        for i, row in enumerate(ROWS):
            line = self.text(f'#row-{i}')
            self.assertIn(row['status'], line)
            if has_speed(row):
                continue
            self.assertIn(row['reason'], line)
            self.assertIn(row['reason'], self.text('.problems'))
            self.assertEqual(self.count(f'.mark[data-row="{i}"]'), 0)
        self.assertIn('variation', self.text('#flags'))

    def test_head_and_record(self):
        top = self.text('#top')
        for word in ('llama-3.2-1b', 'qwen3-4b' + HOSTILE, 'AMD EPYC', 'H100', '9315f7b', '2026-11-26', 'invariant',
                     'of the int8 limit', 'of memory bandwidth', '3 of 22 rows'):
            self.assertIn(word, top)
        commands = self.page.run("[...document.querySelectorAll('#record pre')].map(e => e.innerText)")
        self.assertEqual(commands[0], 'halyard ' + ' '.join(ROWS[0]['argv']))
        self.assertIn(f"--synth 'qwen3-4b{HOSTILE}:q8_0'", commands[1])
        record = self.page.run("document.getElementById('record').textContent")
        for word in ('kvm', '570.86', 'gcc 12.2.0', '5c0ffee', 'cuda.attention.f16'):
            self.assertIn(word, record)


class Handling(ReportTest):
    """Mouse and keyboard."""

    def test_heads_sort(self):
        """Each column of numbers, up and down; what has none stays last."""
        paths = self.page.run("[...document.querySelectorAll('#table th')].map((_, i) => "
                              "document.querySelector(`#table td:nth-child(${i + 1})[data-field]`)?.dataset.field)")
        self.assertGreater(len(list(filter(None, paths))), 20)
        for i, path in enumerate(paths):
            if not path:
                continue
            known = sorted(at(row, path) for row in ROWS if at(row, path) is not None and
                           (has_speed(row) or path.startswith('model_')))
            unknown = [None] * (len(ROWS) - len(known))
            for order, want in (('ascending', known), ('descending', known[::-1])):
                self.page.run(f"document.querySelectorAll('#table th button')[{i}].click()")
                got = self.page.run("[...document.querySelector('#table tbody').rows].map(row => "
                                    f"row.querySelector('[data-field=\"{path}\"]')?.dataset.value ?? null)")
                self.assertEqual([value and float(value) for value in got], want + unknown, path)
                heads = self.page.run("[...document.querySelectorAll('th[aria-sort]')].map(head => "
                                      "head.getAttribute('aria-sort'))")
                self.assertEqual(heads, [order])

    def test_tooltips_by_keyboard(self):
        self.page.run("document.querySelector('#roofline-0 header button').focus()")
        while not self.page.run("document.activeElement.matches('.mark')"):
            self.page.press('Tab')
        seen = []
        for _ in range(self.count('#roofline-0 .mark') + 1):
            seen.append(self.text('#tip'))
            self.page.press('ArrowRight')
        self.assertIn('memory reads: ', seen[0])
        self.assertEqual(seen[-1], seen[0])  # around
        self.assertEqual(len(set(seen)), len(seen) - 1)
        self.assertEqual(self.count('#roofline-0 .mark[tabindex="0"]'), 1)
        self.assertEqual(self.count('.mark:not([aria-label])'), 0)
        self.page.press('Escape')
        self.assertTrue(self.page.run("document.getElementById('tip').hidden"))

    def test_legend_picks_a_series(self):
        faint = ("[...document.querySelectorAll('#roofline-0 .mark')].filter(mark => "
                 "getComputedStyle(mark).opacity < 0.5).length")
        for want in (False, True, False):
            time.sleep(0.2)  # the transition
            self.assertEqual(self.page.run(faint) > 0, want)
            self.click('#roofline-0 .legend button')
        self.click('#roofline-0 .legend button')

    def test_full_screen(self):
        self.click('#roofline-0 header button')
        box = self.page.run("(() => { const figure = document.querySelector('figure.big'); return [figure.id, "
                            "figure.clientWidth - innerWidth, figure.scrollHeight - innerHeight]; })()")
        self.assertEqual(box, ['roofline-0', 0, 0])
        self.page.press('PageDown')
        self.assertEqual(self.page.run("document.querySelector('figure.big').id"), 'roofline-1')
        self.page.press('Escape')
        self.assertEqual(self.count('figure.big'), 0)

    def test_numbers_of_a_chart_as_a_table(self):
        self.page.run("document.querySelector('#itl-0 details').open = true")
        self.page.settle()
        self.assertEqual(self.count('#itl-0 details tbody tr'), self.count('#itl-0 .mark'))

    def test_download_and_copy(self):
        self.browser.call('Browser.setDownloadBehavior', behavior='allow', downloadPath=FOLDER)
        self.browser.call('Browser.grantPermissions', permissions=['clipboardReadWrite', 'clipboardSanitizedWrite'])
        self.click('#save')
        path = os.path.join(FOLDER, 'halyard-bench.json')
        deadline = time.monotonic() + 20
        while not os.path.exists(path) and time.monotonic() < deadline:
            time.sleep(0.05)
        with open(path, encoding='utf-8') as file:
            self.assertEqual(json.load(file), ROWS)
        self.page.call('Page.bringToFront')
        self.click('.buttons button')
        self.assertEqual(json.loads(self.page.run('navigator.clipboard.readText()')), ROWS)


class Looks(PageTest):
    OVERLAPS = """[...document.querySelectorAll('svg.chart')].flatMap(chart => {
        const box = chart.getBoundingClientRect();
        const texts = [...chart.querySelectorAll('text')].filter(t => !t.hasAttribute('transform'));
        const boxes = texts.map(t => t.getBoundingClientRect()), name = chart.closest('figure').id;
        const meet = (a, b) =>
            a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 3 && b.top < a.bottom - 3;
        const inside = b => b.left > box.left - 2 && b.right < box.right + 2 && b.bottom < box.bottom + 2;
        return texts.flatMap((text, i) => [
            ...(inside(boxes[i]) ? [] : [`${name}: "${text.textContent}" leaves the chart`]),
            ...texts.slice(i + 1).filter((_, j) => meet(boxes[i], boxes[i + 1 + j]))
                .map(other => `${name}: "${text.textContent}" and "${other.textContent}" overlap`)]);
    })"""

    def shot(self, page, name, selector):
        """Keeps a screenshot of an element; its colours with how many pixels each has."""
        box = page.run(f"""(() => {{
            const r = document.querySelector('{selector}').getBoundingClientRect();
            return {{x: r.x + scrollX, y: r.y + scrollY, width: r.width, height: r.height}};
        }})()""")
        data = page.screenshot(box, 0.5)
        with open(os.path.join(SHOTS, name + '.png'), 'wb') as file:
            file.write(data)
        return png.colours(data)

    def colour(self, page, selector, name):
        value = page.run(f"getComputedStyle(document.querySelector('{selector}')).{name}")
        self.assertRegex(value, '^rgb[(]', selector)
        return tuple(int(v) for v in re.findall(r'\d+', value)[:3])

    def check_charts(self, page, name):
        """In each chart's own pixels: the card, the text, and the colour of the marks."""
        for selector in ('#speed-tg-0', '#roofline-0', '#itl-0', '#scaling figure', '#memory-plan'):
            chart = selector + ' svg.chart'
            pixels = self.shot(page, f"{name}-{re.sub('[^a-z0-9]+', '-', selector).strip('-')}", chart)
            total = sum(pixels.values())
            card = self.colour(page, selector, 'backgroundColor')
            mark = self.colour(page, f'{chart} :is(.dot, .bar, .part)', 'fill')
            of_mark = sum(n for colour, n in pixels.items() if png.near(colour, mark))
            of_card = sum(n for colour, n in pixels.items() if png.near(colour, card))
            self.assertGreater(pixels[card], total * 0.02, (name, selector, 'card'))
            self.assertGreater(of_mark, 12, (name, selector, 'mark'))
            self.assertGreater(total - of_card, total * 0.01, (name, selector))
            self.assertGreater(len(pixels), 12, (name, selector))

    def test_sizes_light_and_dark(self):
        for dark in (False, True):
            width, height = SIZES[2] if dark else SIZES[0]
            name = f"report-{width}{'-dark' if dark else ''}"
            page = self.open('looks', ROWS, width, height, dark=dark)
            page_colour = self.colour(page, 'body', 'backgroundColor')
            self.assertEqual(sum(page_colour) < 200, dark)
            self.check_charts(page, name)
            self.assertGreater(len(self.shot(page, name + '-head', '#top')), 12)

    def test_no_label_covers_another(self):
        for name, rows in (('report', ROWS), ('many', make_rows.many()), ('plain', make_rows.plain())):
            page = self.open(name, rows)
            for width, height in SIZES:
                page.resize(width, height)
                page.settle()
                self.assertEqual(page.run('document.documentElement.scrollWidth'), width, (name, width))
                self.assertEqual(page.run(self.OVERLAPS), [], (name, width))
            self.check_quiet(page)

    def test_contrast(self):
        """WCAG 2.1: 4.5 for text on what is behind it, 3 for marks."""
        texts = {'--ink': ('--card', '--page', '--bad-pale'), '--muted': ('--card', '--page'),
                 '--accent': ('--card', '--page'), '--bad': ('--card', '--bad-pale')}
        marks = dict.fromkeys(['--roof'] + [f'--s{i}' for i in range(8)], ('--card',))
        for dark in (False, True):
            page = self.open('contrast', [], dark=dark)

            def colour(name):
                style = 'getComputedStyle(document.documentElement)'
                return png.from_hex(page.run(f"{style}.getPropertyValue('{name}').trim()"))

            for need, pairs in ((4.5, texts), (3, marks)):
                for front, grounds in pairs.items():
                    for ground in grounds:
                        contrast = png.contrast(colour(front), colour(ground))
                        self.assertGreaterEqual(contrast, need, (dark, front, ground))


class Strange(PageTest):
    """Rows that nobody would write."""

    def test_no_rows(self):
        page = self.open('none', [])
        self.assertIn('no rows', page.run('document.body.innerText'))
        self.assertEqual(page.run("document.querySelectorAll('figure, table').length"), 0)

    def test_only_imported_rows(self):
        page = self.open('imported', [row for row in ROWS if row['status'] == 'imported'])
        self.assertIn('no roofline', page.run("document.getElementById('top').innerText"))
        self.assertEqual(page.run("document.querySelectorAll('#speed .mark[data-field=avg_ts]').length"), 2)
        self.assertEqual(page.run("document.querySelectorAll('#roofline, #latency, #memory, #energy').length"), 0)

    def test_every_text_is_hostile(self):
        def poison(value):
            if isinstance(value, dict):
                return {key: value[key] if key in ('status', 'kind') else poison(value[key]) for key in value}
            if isinstance(value, list):
                return [poison(item) for item in value]
            return value + HOSTILE if isinstance(value, str) else value
        page = self.open('hostile', poison(ROWS))
        self.assertGreater(page.run("document.querySelectorAll('.mark').length"), 200)
        self.assertIn(HOSTILE, page.run("document.querySelector('#table td.test').innerText"))
        self.assertIn(HOSTILE, page.run("document.querySelector('.problems').innerText"))
        self.assertEqual(page.run("document.querySelectorAll('script').length"), 2)

    def test_wrong_types_and_empty_rows(self):
        """Each field in turn of a good row is replaced, then all; the page still shows the good row beside them."""
        good = make_rows.plain()[1]
        for wrong in ((None, 'text', -1), (0, [], {}), ([None], {'p50': 'x'}, 1e308)):
            rows = [good, {}, None, 7, []]
            rows += [dict(good, **{key: value}) for key in good for value in wrong]
            rows += [dict.fromkeys(good, value) for value in wrong]
            page = self.open('wrong', rows)
            shown = page.run("document.querySelector('#row-0 [data-field=avg_ts]').dataset.value")
            self.assertEqual(float(shown), good['avg_ts'])
            self.assertFalse(page.run("/NaN|undefined/.test(document.body.innerText)"), wrong)


class Result(unittest.TextTestResult):
    passed = 0

    def addSuccess(self, test):
        super().addSuccess(test)
        self.passed += 1

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        print(f'skipped: {test}: {reason}')


def main():
    global HTML_OF
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    HTML_OF = os.path.abspath(sys.argv[1])
    runner = unittest.TextTestRunner(verbosity=2, resultclass=Result)
    try:
        result = unittest.main(argv=sys.argv[:1] + sys.argv[2:], testRunner=runner, exit=False).result
    finally:
        shutil.rmtree(FOLDER, ignore_errors=True)
    if not result.wasSuccessful():
        sys.exit(1)
    sys.exit(0 if result.passed else 77)


if __name__ == '__main__':
    main()
