/** Values that are known to trip readers of files. */

/** Numbers as written in a JSON file. JavaScript cannot hold some of them. */
export const NUMBERS = [
  ...['0', '-0', '1', '-1', '2', '3', '7', '255', '256', '65535', '65536', '0.5', '-0.5', '1e-45', '1e-320'],
  ...['2147483647', '2147483648', '-2147483648', '4294967295', '4294967296', '1073741824', '1099511627776'],
  ...['9007199254740991', '9007199254740992', '9007199254740993', '-9007199254740993', '9223372036854775807'],
  ...['9223372036854775808', '18446744073709551615', '1e308', '-1e308', '1e999', '-1e999', '100000', '10000000'],
];

/** Whole numbers as fields of binary formats hold them. */
export const INTEGERS: readonly bigint[] = [
  ...[0n, 1n, 2n, 3n, 4n, 7n, 8n, 9n, 16n, 31n, 127n, 128n, 255n, 256n, 1000n, 65_535n, 65_536n, 100_000n, 10_000_000n],
  ...[2n ** 24n, 2n ** 30n, 2n ** 31n - 1n, 2n ** 31n, 2n ** 32n - 1n, 2n ** 32n, 2n ** 40n, 2n ** 52n, 2n ** 53n - 1n],
  ...[2n ** 53n, 2n ** 53n + 1n, 2n ** 61n, 2n ** 62n, 2n ** 63n - 1n, 2n ** 63n, 2n ** 64n - 1n, 2n ** 64n - 8n],
];

/** Programs in a chat template: endless, large, deep or wrong. */
export const TEMPLATES = [
  '{% for i in range(1000000000) %}x{% endfor %}',
  '{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}',
  '{% set ns = namespace(s="x") %}{% for i in range(40) %}{% set ns.s = ns.s + ns.s %}{% endfor %}{{ ns.s }}',
  '{% set ns = namespace(a=[1]) %}{% for i in range(40) %}{% set ns.a = ns.a + ns.a %}{% endfor %}{{ ns.a | length }}',
  '{% macro f(n) %}{{ f(n) }}{% endmacro %}{{ f(1) }}',
  '{% macro f(n) %}{{ f(n + 1) }}{{ f(n + 1) }}{% endmacro %}{{ f(1) }}',
  '{{ messages[0].content * 1000000000 }}',
  '{{ "x" | indent(1000000000) }}',
  '{{ "x".replace("", "y" * 100000000) }}',
  `{{ ${'('.repeat(20_000)}1${')'.repeat(20_000)} }}`,
  `{{ ${'['.repeat(20_000)}${']'.repeat(20_000)} }}`,
  '{{ range(0, 10, 0) }}',
  '{{ messages | tojson }}{{ messages | map(attribute="role") | join }}',
  '{{ raise_exception("\u001b[2J\u0007 no") }}',
  '{{ raise_exception("no " * 10000) }}',
  '{{ strftime_now("%Y") }}',
  '{{ messages.__class__.__mro__ }}{{ constructor }}{{ messages.constructor.constructor("return process")() }}',
  '{% if %}',
  '{% for',
  '{{',
  '{{ 1 // 0 }}{{ 1 % 0 }}{{ -1 ** 0.5 }}',
  '',
];

/** Regular expressions that take time exponential in the text, or are invalid. */
export const PATTERNS = [
  '(a+)+$',
  '(\\w+\\s?)*$',
  '(.*)*\\z',
  '([a-zA-Z]+)*[0-9]',
  '(?:(?:(?:.*)*)*)*x',
  '(\\p{L}+)+!',
  '(?=(\\w+)+)\\1!',
  '',
  '(',
  '[',
  '(?i)',
  '\\',
  'x*',
  '(?<=a{1,1000}){1,1000}b',
  'a{1000000000}',
  '(a{1,1000}){1,1000}$',
];

export const STRINGS = [
  ...['', ' ', '\n', '\0', '\u001b[2J\u001b]0;x\u0007', '\u202egnp.exe', '\ud800', '\ufeff', '\u0085\u009b31m'],
  ...['é', '💥', '__proto__', 'constructor', 'prototype', 'toString', 'hasOwnProperty', 'then', 'length'],
  ...['../../x', '..', '/etc/passwd', 'C:\\x', 'con', 'a/b', './model.safetensors', 'model.safetensors'],
  'x\0.safetensors',
  ...['null', 'NaN', 'Infinity', '-1', '1e999', '0x10', 'true', '18446744073709551616'],
  ...['llama', 'gemma2', 'gemma3_text', 'mistral', 'F8_E4M3', 'U64', 'BOOL', 'sliding_attention', 'linear', 'yarn'],
  ...['layers.0.ffn', 'layers.99999999999999999999.ffn', 'layers.-1.ffn', '<|endoftext|>', 'Ġ', '<0xFF>', '%s%n', '{}'],
];
