/** Rotary tables against Transformers 5.24 (LlamaRotaryEmbedding, float32), heads of 16. */
import { describe, expect, test } from 'vitest';
import { readFloats } from '../../src/tensors/index.ts';
import type { RopeConfig } from '../config/rope-config.ts';
import { inverseFrequencies, rotaryColumns, rotaryTables } from './rotary.ts';

interface Oracle {
  readonly name: string;
  readonly rope: RopeConfig;
  readonly frequencies: readonly number[];
  /** The table's last row. */
  readonly position: number;
  readonly cos: readonly number[];
  readonly sin: readonly number[];
}

const llama3: RopeConfig = {
  kind: 'llama3',
  theta: 500_000,
  factor: 8,
  lowFreqFactor: 1,
  highFreqFactor: 4,
  originalMaxPositions: 8192,
};

const yarn: RopeConfig = {
  kind: 'yarn',
  theta: 10_000,
  factor: 16,
  attentionFactor: 1.2772588722239782,
  betaFast: 32,
  betaSlow: 1,
  truncate: true,
  originalMaxPositions: 4096,
};

// biome-ignore format: one line of numbers a table row, as printed by the oracle
const ORACLES: readonly Oracle[] = [
  {
    name: 'default',
    rope: { kind: 'default', theta: 10_000 },
    frequencies: [1.0, 0.3162277638912201, 0.10000000149011612, 0.03162277862429619, 0.009999999776482582, 0.003162277862429619, 0.0010000000474974513, 0.0003162277862429619],
    position: 2047,
    cos: [0.24971525371074677, 0.9887485504150391, -0.8792673349380493, -0.3232646882534027, -0.0496266707777977, 0.9820047616958618, -0.4584086835384369, 0.7977038621902466],
    sin: [-0.968319296836853, 0.14958710968494415, -0.47632861137390137, 0.9463086128234863, 0.9987678527832031, 0.1888563185930252, 0.8887414932250977, 0.6030493974685669],
  },
  {
    name: 'linear',
    rope: { kind: 'linear', theta: 10_000, factor: 2.7 },
    frequencies: [0.37037035822868347, 0.1171213909983635, 0.03703703731298447, 0.011712140403687954, 0.003703703638166189, 0.0011712140403687954, 0.000370370369637385, 0.00011712140258168802],
    position: 16_383,
    cos: [-0.20735132694244385, -0.7562023401260376, -0.9002779126167297, -0.9706595540046692, -0.5507649183273315, 0.9432724714279175, 0.9768893122673035, -0.3410218358039856],
    sin: [-0.9782665371894836, 0.6543378233909607, -0.43531563878059387, -0.24045808613300323, -0.8346604108810425, 0.332019567489624, -0.21374569833278656, 0.9400553703308105],
  },
  {
    name: 'dynamic (factor 1.7), at the end of its context',
    rope: { kind: 'dynamic', theta: 10_000 },
    frequencies: [1.0, 0.3162277638912201, 0.10000000149011612, 0.03162277862429619, 0.009999999776482582, 0.003162277862429619, 0.0010000000474974513, 0.0003162277862429619],
    position: 4095,
    cos: [-0.06597599387168884, 0.8159282207489014, 0.4598633348941803, -0.7712547779083252, -0.9940330982208252, 0.9274889826774597, -0.5789079070091248, 0.2723587155342102],
    sin: [-0.9978212118148804, 0.5781531929969788, 0.8879896998405457, -0.6365265846252441, -0.1090787947177887, 0.3738505244255066, -0.8153929114341736, 0.9621958136558533],
  },
  {
    name: 'llama3',
    rope: llama3,
    frequencies: [1.0, 0.193922758102417, 0.03760603070259094, 0.00729266507551074, 0.0005248460220173001, 3.428102354519069e-5, 6.647869668086059e-6, 1.289173155782919e-6],
    position: 131_071,
    cos: [-0.8179835081100464, -0.5605309009552002, -0.9951217770576477, 0.687491774559021, 0.948304295539856, -0.217391237616539, 0.6437995433807373, 0.9857579469680786],
    sin: [-0.5752416849136353, 0.8281335234642029, 0.09865415841341019, 0.7261921763420105, -0.31736260652542114, -0.9760845303535461, 0.7651941776275635, 0.1681702733039856],
  },
  {
    name: 'yarn',
    rope: yarn,
    frequencies: [1.0, 0.3162277638912201, 0.10000000149011612, 0.024211188778281212, 0.0053125000558793545, 0.0009388012113049626, 6.25000029685907e-5, 1.9764236640185118e-5],
    position: 65_535,
    cos: [0.24567310512065887, -0.578895628452301, 1.2651644945144653, -1.2575260400772095, -1.0807430744171143, 0.33240652084350586, -0.738438606262207, 0.3475082218647003],
    sin: [1.2534092664718628, 1.1385385990142822, 0.17535439133644104, -0.22364859282970428, 0.6807235479354858, -1.2332462072372437, -1.0421605110168457, 1.2290762662887573],
  },
  {
    name: 'yarn with a range that is not truncated',
    rope: { ...yarn, theta: 150_000, factor: 32, attentionFactor: 1.1, betaFast: 24, betaSlow: 2, truncate: false },
    frequencies: [1.0, 0.22541800141334534, 0.05081327259540558, 0.006240513175725937, 8.068715396802872e-5, 1.818833698052913e-5, 4.099978468730114e-6, 9.242089618055616e-7],
    position: 131_071,
    cos: [-0.8997818827629089, -0.670564591884613, 1.0995069742202759, 0.46312135457992554, -0.4483644664287567, -0.7991141080856323, 0.944953441619873, 1.091939091682434],
    sin: [-0.6327658891677856, 0.8719765543937683, -0.032930441200733185, 0.9977567791938782, -1.0044746398925781, 0.7559210658073425, 0.5630835294723511, 0.13292504847049713],
  },
];

describe.each(ORACLES)('$name', ({ rope, frequencies, position, cos, sin }) => {
  test('has the frequencies of Transformers to the bit', () => {
    expect([...inverseFrequencies(rope, 16)]).toEqual(frequencies);
  });

  test('has its cos and sin at the last position', async () => {
    const tables = rotaryTables(rope, 16, position + 1);
    // Angles are equal to the bit. Both libraries' cos is within one unit in the last place, at most 2^-23 below 2.
    const ulp = 2 ** -23;
    for (const [table, expected] of [
      [tables.cos, cos],
      [tables.sin, sin],
    ] as const) {
      expect(table.shape).toEqual([position + 1, 8]);
      const row = (await readFloats(table)).slice(position * 8);
      for (const [i, value] of expected.entries())
        expect(Math.abs(row[i] - value), `column ${i}`).toBeLessThanOrEqual(ulp);
    }
  });
});

test('position 0 turns nothing: cos 1 and sin 0', async () => {
  const { cos, sin } = rotaryTables(llama3, 16, 3);
  expect([...(await readFloats(cos)).slice(0, 8)]).toEqual(Array(8).fill(1));
  expect([...(await readFloats(sin)).slice(0, 8)]).toEqual(Array(8).fill(0));
});

test('tables of heads that are no multiple of 16 are filled up with columns that turn nothing', async () => {
  expect([10, 12, 16, 24, 100, 128].map(rotaryColumns)).toEqual([8, 8, 8, 16, 56, 64]);
  const { cos, sin } = rotaryTables({ kind: 'default', theta: 10_000 }, 10, 2);
  // Row 1: five angles 1, 10000^-0.2 ..., then three columns of cos 1 and sin 0.
  const [cosRow, sinRow] = [(await readFloats(cos)).slice(8), (await readFloats(sin)).slice(8)];
  expect(cosRow[1]).toBeCloseTo(Math.cos(10_000 ** -0.2), 6);
  expect([...cosRow.slice(5)]).toEqual([1, 1, 1]);
  expect([...sinRow.slice(5)]).toEqual([0, 0, 0]);
  expect(sinRow[4]).toBeGreaterThan(0);
});
