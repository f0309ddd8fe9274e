/** The vocabulary of src/core/choice.ts and src/ops/contract.ts as C++, so that it is written only once. */
import { CUTS, type CutName, MEASURES, MODES } from '../src/core/choice.ts';
import { ACTIVATIONS } from '../src/ops/activations.ts';
import {
  type InputType,
  OPERATOR_SET,
  OPERATORS,
  type OperatorContract,
  type OutputType,
} from '../src/ops/contract.ts';
import { STORAGES } from '../src/ops/gated-ffn/storages.ts';

export interface Header {
  /** Relative to the repository's root. */
  readonly path: string;
  readonly text: string;
}

export function headers(): readonly Header[] {
  return [
    { path: 'native/kernels/vocabulary.h', text: kernelsHeader() },
    { path: 'native/ops/vocabulary.h', text: operatorsHeader() },
  ];
}

function kernelsHeader(): string {
  const names = <Named extends { readonly name: string }>(list: readonly Named[]) => list.map(({ name }) => name);
  const enums = [
    enumeration('Activation', ACTIVATIONS),
    enumeration('Storage', STORAGES),
    enumeration('Measure', ['none', ...names(MEASURES)]),
    enumeration('Cut', names(CUTS)),
    enumeration('TopKMode', MODES),
    measureTables(),
  ];
  const about =
    'Words of files that kernels know as enums. Files hold the words, so the order of an enum is free to change.';
  return guarded('LACUNA_KERNELS_VOCABULARY_H_', about, [], enums.join('\n\n'));
}

interface MeasureFacts {
  readonly name: string;
  readonly rows: readonly string[];
  readonly isProduct: boolean;
  readonly cuts: readonly CutName[];
}

/** By measure; of none, which comes first, they say nothing. */
function measureTables(): string {
  const all: readonly MeasureFacts[] = [{ name: 'none', rows: [], isProduct: false, cuts: [] }, ...MEASURES];
  const table = (flags: (measure: MeasureFacts) => readonly boolean[]) =>
    all.map((measure) => `    {${flags(measure).join(', ')}},  // ${measure.name}\n`).join('');
  const facts = table(({ rows, isProduct }) => [rows.includes('gate'), rows.includes('up'), isProduct]);
  const cuts = table((measure) => CUTS.map(({ name }) => measure.cuts.includes(name)));
  return [
    '// Whether rows of chosen neurons alone are read of gate and of up, as they are of `down`; and whether a neuron is measured by',
    '// the product of what is read of all neurons, act(gate) and up.',
    'struct MeasureFacts {\n  bool gate_rows, up_rows, is_product;\n};',
    `inline constexpr MeasureFacts kMeasures[] = {\n${facts}};\n`,
    '// By measure and cut: whether there is that choice.',
    `inline constexpr bool kMeasureCuts[][${CUTS.length}] = {\n${cuts}};`,
  ].join('\n');
}

function operatorsHeader(): string {
  const attributes = [...new Set(OPERATORS.flatMap((operator) => Object.keys(operator.attributes)))].sort();
  const parts = [
    `// Op types are <operator>_${OPERATOR_SET}_<number>.\ninline constexpr int kOperatorSet = ${OPERATOR_SET};`,
    `namespace attribute {\n\n${attributes.map((name) => `inline constexpr char ${constant(name)}[] = "${name}";`).join('\n')}\n\n}  // namespace attribute`,
    ...OPERATORS.map(operatorText),
  ];
  const about =
    'Operators as nodes call them: positions of inputs and outputs, their types, and the names of attributes.';
  return guarded('LACUNA_OPS_VOCABULARY_H_', about, ['<array>', '', '"ops/ort.h"'], parts.join('\n\n'));
}

function operatorText({ name, bodies, inputs, outputs }: OperatorContract): string {
  const space = name.replace(/(?<=[a-z])(?=[A-Z])/g, '_').toLowerCase();
  const port = ({ type, optional }: { readonly type: InputType | OutputType; readonly optional: boolean }) =>
    `    {ONNX_TENSOR_ELEMENT_DATA_TYPE_${ELEMENT_TYPES[type]}${optional ? ', true' : ''}},`;
  const positions = (kind: string, ports: readonly { readonly name: string }[]) =>
    `enum ${kind} : size_t {\n${ports.map((one) => `  ${constant(one.name)},`).join('\n')}\n  k${kind}Count,\n};`;
  const outputNames = outputs.map((output) => ({ name: `${output.name}_output` }));
  return `namespace ${space} {

inline constexpr char kName[] = "${name}";
inline constexpr int kBodies = ${bodies};
${positions('Input', inputs)}
${positions('Output', outputNames)}
inline constexpr std::array<ort::Port, kInputCount> kInputs = {{
${inputs.map(port).join('\n')}
}};
inline constexpr std::array<ort::Port, kOutputCount> kOutputs = {{
${outputs.map(port).join('\n')}
}};
inline constexpr const char* kInputNames[] = {${inputs.map((input) => `\n    "${input.name}",`).join('')}
};

}  // namespace ${space}`;
}

/** ONNX Runtime's names. UNDEFINED takes any type, and kernels check it. */
const ELEMENT_TYPES: Readonly<Record<InputType | OutputType, string>> = {
  float32: 'FLOAT',
  float16: 'FLOAT16',
  uint8: 'UINT8',
  bool: 'BOOL',
  int32: 'INT32',
  int64: 'INT64',
  weights: 'UNDEFINED',
};

function enumeration(name: string, members: readonly string[]): string {
  const list = members.map(constant).join(', ');
  const quoted = members.map((member) => `"${member}"`).join(', ');
  return `enum class ${name} { ${list} };\ninline constexpr const char* k${name}Names[] = {${quoted}};`;
}

/** gelu_tanh -> kGeluTanh. */
function constant(name: string): string {
  const words = name.split('_').map((word) => word.charAt(0).toUpperCase() + word.slice(1));
  return `k${words.join('')}`;
}

function guarded(guard: string, about: string, includes: readonly string[], text: string): string {
  const lines = includes.map((file) => (file === '' ? '' : `#include ${file}`));
  return `// ${about}
// Made by \`npm run vocabulary\` from src/core/choice.ts and src/ops/contract.ts: do not edit.
#ifndef ${guard}
#define ${guard}

${lines.length === 0 ? '' : `${lines.join('\n')}\n\n`}namespace lacuna {

${text}

}  // namespace lacuna

#endif  // ${guard}
`;
}
