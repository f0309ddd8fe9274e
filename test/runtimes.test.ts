/** The oldest ONNX Runtime that documents name, held to what the writer records in a folder. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import {
  IN_BLOCKS,
  PRECISION_NAMES,
  type PrecisionName,
  VOCABULARY_NAMES,
  type VocabularyName,
} from '../src/core/precision.ts';
import { convert } from '../src/index.ts';
import { root, temporaryFolder, tinyLlama } from './temporary.ts';

const folder = temporaryFolder();
const documented = (file: string) => readFileSync(join(root, file), 'utf8');
const hasBlocks = (dtype: string) => dtype.startsWith('int');

/** "1.21", as `lacuna.json` has it. */
async function recorded(checkpoint: string, dtype: PrecisionName, vocabulary?: VocabularyName): Promise<string> {
  const output = join(folder, [checkpoint.split('/').at(-1), dtype, vocabulary].join('-'));
  await convert({ checkpoint, output, dtype: [dtype], ...(vocabulary !== undefined && { vocabulary }) });
  const { models } = JSON.parse(readFileSync(join(output, 'lacuna.json'), 'utf8')) as {
    models: { onnxruntime: string }[];
  };
  return models[0].onnxruntime.replace('>=', '');
}

interface Row {
  readonly dtypes: readonly string[];
  readonly vocabularies: readonly string[];
  readonly version: string;
}

/** The table of docs/consumers.md: rows of models without a window, that of blocks last, and one of those with a window. */
function documentedRows(): { readonly plain: readonly Row[]; readonly windowed: Row } {
  const [, section] = documented('docs/consumers.md').split('## The oldest ONNX Runtime\n');
  const [, , ...lines] = section.split('\n').filter((line) => line.startsWith('|'));
  const rows = lines.map((line) => {
    const [, , dtypes, vocabularies, version] = line.split('|').map((cell) => cell.trim());
    return { dtypes: dtypes.split(', '), vocabularies: vocabularies.split(', '), version };
  });
  return { plain: rows.slice(0, -1), windowed: rows[rows.length - 1] };
}

const { plain, windowed } = documentedRows();
const choices = PRECISION_NAMES.flatMap((dtype) =>
  (hasBlocks(dtype) ? VOCABULARY_NAMES : ['' as const]).map((vocabulary) => ({ dtype, vocabulary })),
);

describe('the oldest ONNX Runtime', () => {
  it.each(choices)('of $dtype $vocabulary without a window', async ({ dtype, vocabulary }) => {
    const rows = plain.filter((row) => row.dtypes.includes(dtype) && row.vocabularies.includes(vocabulary));
    expect(rows).toHaveLength(1);
    expect(await recorded(tinyLlama, dtype, vocabulary || undefined)).toBe(rows[0].version);
  });

  it('of Gemma 1', async () => {
    expect(await recorded(join(root, 'fixtures/gemma-variants/gemma-legacy-gelu'), 'fp32')).toBe(plain[0].version);
  });

  it.each(['gemma-variants/gemma2-softcap', 'gemma-variants/gemma3-pattern', 'llama-variants/mistral-window'])(
    'of %s, which has a window',
    async (name) => {
      expect([windowed.dtypes, windowed.vocabularies]).toEqual([['all'], ['all']]);
      expect(await recorded(join(root, 'fixtures', name), 'bf16')).toBe(windowed.version);
    },
  );

  it('in README and docs/precisions.md', () => {
    const [floats, blocks] = [plain[0].version, plain[plain.length - 1].version];
    const sentence = `needs ONNX Runtime ${floats} or newer; ${IN_BLOCKS} need ${blocks}, and models with a sliding window, as Gemma 2 and 3, need ${windowed.version}`;
    expect(documented('README.md').replaceAll('\n', ' ')).toContain(sentence);
    for (const dtype of PRECISION_NAMES)
      expect(documented('docs/precisions.md'), dtype).toMatch(
        new RegExp(`^\\| \`${dtype}\` .*\\| ${hasBlocks(dtype) ? blocks : floats} +\\|$`, 'm'),
      );
  });
});
