/** Text that fits a terminal: tables with right-aligned numbers, wide tables folded, long sentences wrapped. */
import { withShortWords } from '../core/shown.ts';

const GAP = '  ';

/** A number, with or without a unit: "12", "-0.5", "30.0 %", "314.6 kB", "1.2x". "-" stands for no number. */
const NUMERIC = /^[-+]?[\d.,]+(e[-+]?\d+)?( ?(%|x|[kMGT]?B))?$|^-$/;

/**
 * A header, a rule, rows. Cells are text. A column of numbers is right-aligned. A word that no terminal has room for is
 * cut, because all other rows would be padded to its width.
 */
export function table(header: readonly string[], given: readonly (readonly string[])[]): string {
  const rows = given.map((row) => row.map(withShortWords));
  const widths = columnWidths(header, rows);
  const right = header.map((_, column) => rows.length > 0 && rows.every((row) => NUMERIC.test(row[column])));
  const line = (cells: readonly string[]) =>
    cells
      .map((cell, column) => (right[column] ? cell.padStart(widths[column]) : cell.padEnd(widths[column])))
      .join(GAP)
      .trimEnd();
  return [line(header), widths.map((width) => '-'.repeat(width)).join(GAP), ...rows.map(line)].join('\n');
}

/** A table with prose in its last column. What does not fit continues in further lines of that column. */
export function proseTable(header: readonly string[], rows: readonly (readonly string[])[], width: number): string {
  const others = columnWidths(header, rows).slice(0, -1);
  const left = width - others.reduce((sum, column) => sum + column + GAP.length, 0);
  const wrapped = rows.flatMap((row) => {
    const first = row.slice(0, -1);
    const blank = first.map(() => '');
    const lines = wrap(row[row.length - 1], Math.max(LEAST_PROSE, left)).split('\n');
    return lines.map((line, index) => [...(index === 0 ? first : blank), line]);
  });
  return table(header, wrapped);
}

const LEAST_PROSE = 20;

/** A table too wide for `width` as several of about as many columns, one under another, each with the first column. */
export function foldedTable(header: readonly string[], rows: readonly (readonly string[])[], width: number): string {
  const widths = columnWidths(header, rows);
  const others = widths.length - 1;
  const folds = Array.from({ length: others }, (_, index) => evenly(others, index + 1));
  const fits = (columns: readonly number[]) =>
    columns.reduce((sum, column) => sum + GAP.length + widths[column], -GAP.length) <= width;
  const chosen = folds.find((fold) => fold.every(fits)) ?? folds[folds.length - 1] ?? [[0]];
  const pick = (cells: readonly string[], columns: readonly number[]) => columns.map((column) => cells[column]);
  const fold = (columns: readonly number[]) => {
    const picked = rows.map((row) => pick(row, columns));
    return table(pick(header, columns), picked);
  };
  return chosen.map(fold).join('\n\n');
}

/** Columns 1 to `count` in `parts` runs. Column 0 leads each run. */
function evenly(count: number, parts: number): number[][] {
  const border = (part: number) => Math.round((part * count) / parts);
  return Array.from({ length: parts }, (_, part) => [
    0,
    ...Array.from({ length: border(part + 1) - border(part) }, (_column, index) => 1 + border(part) + index),
  ]);
}

function columnWidths(header: readonly string[], rows: readonly (readonly string[])[]): number[] {
  const widest = (column: number) => rows.reduce((most, row) => Math.max(most, row[column].length), 0);
  return header.map((title, column) => Math.max(title.length, widest(column)));
}

/** `text` in lines of at most `width` characters, all but the first indented. A longer word gets its own line. */
export function wrap(text: string, width: number, indent = ''): string {
  const [first, ...others] = text.split('\n');
  return [
    wrapWords(first, width, indent),
    ...others.map((line) => wrapWords(indent + line.trim(), width, indent)),
  ].join('\n');
}

function wrapWords(text: string, width: number, indent: string): string {
  const lines: string[] = [];
  let line = indentOf(text);
  for (const word of text.trimStart().split(' ')) {
    if (line.trim() === '') line += word;
    else if (line.length + 1 + word.length <= width) line += ` ${word}`;
    else {
      lines.push(line);
      line = indent + word;
    }
  }
  return [...lines, line].join('\n');
}

function indentOf(text: string): string {
  return text.slice(0, text.length - text.trimStart().length);
}

/**
 * `text` with lines of at most `width` characters where words allow it. Rows of tables stay as they are. Commands stay
 * in one piece so that they can be copied. So do the texts in `whole`: a path that the user typed may contain spaces.
 */
export function wrapText(text: string, width: number, whole: readonly string[] = []): string {
  return text
    .split('\n')
    .map((line) => (line.length <= width || TABLE_ROW.test(line) ? line : wrapLine(line, width, whole)))
    .join('\n');
}

const TABLE_ROW = /\S {2,}\S/;
/** A command that begins a line or follows a colon, up to the end of its sentence. */
const COMMAND = /(?<=^|: )(?:lacuna|npm|npx|pip|python3?|node) .+?(?=; |\. |$)/g;
/** Stands for a space at which no line may break. No text contains it. */
const JOINT = '\0';

function wrapLine(line: string, width: number, whole: readonly string[]): string {
  const body = line.trimStart();
  const indent = indentOf(line);
  // A command may contain a path, but a path never contains a command.
  const pieces = [...(body.match(COMMAND) ?? []), ...whole.filter((piece) => piece.includes(' '))];
  const joined = pieces.reduce((text, piece) => text.replaceAll(piece, piece.replaceAll(' ', JOINT)), body);
  const lines = wrap(joined, width - indent.length, '  ').split('\n');
  return lines.map((one) => indent + one.replaceAll(JOINT, ' ')).join('\n');
}
