// The small changes that a test should notice. Each is a place in a source file and its replacement.
import { parseAst } from 'vitest/node';

/** Each becomes the other. */
const PAIRS = ['+ -', '* /', '< <=', '> >=', '=== !==', '<< >>', '& |', '&& ||', '+= -=', '*= /='].flatMap((pair) => {
  const [one, other] = pair.split(' ');
  return [
    [one, other],
    [other, one],
  ];
});
const OPERATORS = { ...Object.fromEntries(PAIRS), '%': '*', '**': '*', '>>>': '<<', '??': '&&' };
const METHODS = { min: 'max', max: 'min', floor: 'ceil', ceil: 'floor', some: 'every', every: 'some' };
// Wrappers of values. Anything else that begins with TS is a type.
const TYPED_VALUES = new Set(['TSAsExpression', 'TSNonNullExpression', 'TSSatisfiesExpression']);
// Texts of errors and module names are not changed, because tests need not check them.
const SKIPPED = new Set(['ImportDeclaration', 'ThrowStatement']);

/** All mutants of a source text: `{ start, end, text }`, in the order of the file. */
export function mutantsOf(code) {
  const found = [];
  const source = (node) => code.slice(node.start, node.end);
  const replace = (node, text) => found.push({ start: node.start, end: node.end, text });
  const replaceOperator = (node, left, right) => {
    const instead = OPERATORS[node.operator];
    const start = code.indexOf(node.operator, left.end);
    if (instead !== undefined && start < right.start)
      found.push({ start, end: start + node.operator.length, text: instead });
  };
  const kinds = {
    BinaryExpression: (node) => isText(node) || replaceOperator(node, node.left, node.right),
    LogicalExpression: (node) => replaceOperator(node, node.left, node.right),
    AssignmentExpression: (node) => replaceOperator(node, node.left, node.right),
    UnaryExpression: (node) => '!-'.includes(node.operator) && replace(node, `(${source(node.argument)})`),
    Literal: (node) => {
      if (typeof node.value === 'number') replace(node, other(node.value));
      if (typeof node.value === 'boolean') replace(node, String(!node.value));
    },
    IfStatement: ({ test }) => {
      replace(test, 'true');
      replace(test, 'false');
    },
    ConditionalExpression: ({ test }) => replace(test, `!(${source(test)})`),
    ExpressionStatement: (node) => node.expression.type === 'CallExpression' && replace(node, ';'),
    MemberExpression: ({ computed, property }) => {
      if (computed && property.type !== 'Literal') replace(property, '0');
      if (!computed && Object.hasOwn(METHODS, property.name)) replace(property, METHODS[property.name]);
    },
  };
  visit(parseAst(code, { lang: 'ts' }), (node) => kinds[node.type]?.(node));
  return found.sort((a, b) => a.start - b.start || a.end - b.end);
}

function visit(node, see) {
  if (SKIPPED.has(node.type) || (node.type.startsWith('TS') && !TYPED_VALUES.has(node.type))) return;
  see(node);
  // For -1 the sign is enough: if -1 means "any", -2 does too.
  if (node.type === 'UnaryExpression' && node.argument.type === 'Literal') return;
  for (const child of Object.values(node).flat()) if (typeof child?.type === 'string') visit(child, see);
}

/** The next number, or half as much again: close enough that a weak test misses it. */
function other(value) {
  return String(Number.isInteger(value) ? value + 1 : value * 1.5);
}

/** Adding texts is not arithmetic. */
function isText({ operator, left, right }) {
  const text = (node) =>
    node.type === 'TemplateLiteral' || typeof node.value === 'string' || (node.left && isText(node));
  return operator === '+' && (text(left) || text(right));
}
