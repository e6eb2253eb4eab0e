/* The page is made once, from the rows in it. */

const json = document.getElementById('rows').textContent.trim();
const allRows = readRows(JSON.parse(json));
const allSeries = styleSeries(nameSeries(allRows));
const manySeries = allSeries.length > 1;

head(allRows, json);
if (allRows.length) {
    charts(allRows);
    tableSection(allRows);
    recordSection(allRows);
    openForPrint();
}
document.body.append(el('footer', {},
    'Made by halyard bench. This page asks nothing of the network; its numbers are the JSON inside it.'));
