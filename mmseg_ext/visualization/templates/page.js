
'use strict';

// A table shows so many rows until all are asked for: see page.css.
const SHOWN = 20;

// A cell is sorted by its number where it has one, after all others where it
// is empty.
function keyOf(row, column) {
  const cell = row.cells[column];
  const text = cell.textContent.trim();
  const value = cell.dataset.value;
  return {empty: value === undefined && text === '',
          number: value === undefined ? NaN : Number(value), text};
}

function compare(a, b, sign) {
  if (a.empty || b.empty) return a.empty - b.empty;
  const numbers = !Number.isNaN(a.number) && !Number.isNaN(b.number);
  return sign * (numbers ? a.number - b.number
    : a.text.localeCompare(b.text, undefined, {numeric: true}));
}

function sort(table, head) {
  const upwards = head.getAttribute('aria-sort') !== 'ascending';
  const body = table.tBodies[0];
  const keyed = Array.from(body.rows,
    row => [keyOf(row, head.cellIndex), row]);
  keyed.sort((a, b) => compare(a[0], b[0], upwards ? 1 : -1));
  body.append(...keyed.map(pair => pair[1]));
  for (const other of table.tHead.rows[0].cells)
    other.setAttribute('aria-sort', 'none');
  head.setAttribute('aria-sort', upwards ? 'ascending' : 'descending');
}

for (const table of document.querySelectorAll('table.sortable')) {
  const count = table.tBodies[0].rows.length;
  if (count < 2) continue;
  for (const head of table.tHead.rows[0].cells) {
    const button = document.createElement('button');
    button.type = 'button';
    button.append(...head.childNodes);
    head.append(button);
    head.setAttribute('aria-sort', 'none');
    head.addEventListener('click', () => sort(table, head));
  }
  if (count > SHOWN && !table.classList.contains('matrix')) {
    const button = document.createElement('button');
    const close = closed => {
      table.classList.toggle('closed', closed);
      button.textContent = closed ? `Show all ${count} rows`
        : `Show the first ${SHOWN} rows`;
      button.setAttribute('aria-expanded', String(!closed));
    };
    button.type = 'button';
    button.className = 'more';
    button.addEventListener('click',
      () => close(!table.classList.contains('closed')));
    close(true);
    table.parentElement.after(button);
  }
}

// A picture fills the window when it is clicked. Arrows lead to those beside
// it, in the same place, so that the eye sees what differs; Escape leads back.
const pictures = Array.from(document.querySelectorAll('.pictures .side img'));

function addZoom() {
  const dialog = document.createElement('dialog');
  const image = document.createElement('img');
  const text = document.createElement('p');
  const buttons = document.createElement('div');
  let at = 0;
  const show = number => {
    at = (number + pictures.length) % pictures.length;
    const caption = pictures[at].closest('figure')
      .querySelector('figcaption span');
    image.src = pictures[at].src;
    image.alt = pictures[at].alt;
    image.className = pictures[at].className;
    text.textContent = `${pictures[at].alt} (${caption.textContent})`;
  };
  for (const [name, action] of [['Previous', () => show(at - 1)],
    ['Next', () => show(at + 1)], ['Close', () => dialog.close()]]) {
    const button = document.createElement('button');
    button.type = 'button';
    button.textContent = name;
    button.addEventListener('click', action);
    buttons.append(button);
  }
  dialog.setAttribute('aria-label', 'Enlarged picture');
  text.setAttribute('aria-live', 'polite');
  dialog.append(image, text, buttons);
  dialog.addEventListener('keydown', event => {
    const step = {ArrowLeft: -1, ArrowRight: 1}[event.key];
    if (step) show(at + step);
  });
  image.addEventListener('click', () => dialog.close());
  pictures.forEach((picture, number) => {
    const button = document.createElement('button');
    button.type = 'button';
    button.className = 'zoom';
    picture.replaceWith(button);
    button.append(picture);
    button.addEventListener('click', () => {
      show(number);
      document.body.append(dialog);
      dialog.showModal();
    });
  });
}
if (pictures.length) addZoom();

// What a link leads to is shown, also where it is folded.
function unfold() {
  const target = document.getElementById(location.hash.slice(1));
  const folded = target && target.closest('details');
  if (folded) folded.open = true;
}
addEventListener('hashchange', unfold);
unfold();
