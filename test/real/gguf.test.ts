/** SmolLM2-135M's GGUF file against the folder that fixtures/real/prepare.py made of it with gguf-py and NumPy. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { openCheckpoint } from '../../formats/checkpoint.ts';
import { readTensorBytes } from '../../formats/tensor-data.ts';
import { loadTokenizer } from '../../formats/tokenizer/index.ts';
import { cast } from '../../src/core/tensor.ts';
import { hasSmollm2, required, root, smollm2, testText } from './real-model.ts';

const file = join(root, 'fixtures/real/.cache/smollm2-135m.gguf');

describe.runIf(hasSmollm2 && (required || existsSync(file)))(
  'SmolLM2-135M from GGUF',
  { timeout: 120_000 },
  async () => {
    const [gguf, folder] = [await openCheckpoint(file), await openCheckpoint(smollm2)];

    it('has all weights of the folder, to the last bit once rounded to bf16', async () => {
      expect([...gguf.tensors.keys()].sort()).toEqual([...folder.tensors.keys()].sort());
      const different: string[] = [];
      for (const [name, tensor] of folder.tensors) {
        const rounded = await readTensorBytes(cast(gguf.tensors.get(name) ?? tensor, 'bfloat16'));
        if (Buffer.compare(await readTensorBytes(tensor), rounded) !== 0) different.push(name);
      }
      expect(different).toEqual([]);
    });

    it('has the ids and the chat template of the folder', async () => {
      const [ours, theirs] = [await loadTokenizer(gguf), await loadTokenizer(folder)];
      const text = readFileSync(testText, 'utf8');
      expect(ours.encode(text)).toEqual(theirs.encode(text));
      const chat = (tokenizer: typeof ours) =>
        tokenizer.chat([{ role: 'user', content: 'Hi' }], { addGenerationPrompt: true });
      expect(chat(ours)).toBe(chat(theirs));
    });

    it('has the config of the folder, as far as it says what is computed', () => {
      const { config } = folder;
      const shared = Object.entries(gguf.config).filter(([key]) => key in config);
      expect(shared.length).toBeGreaterThan(15);
      expect(Object.fromEntries(shared)).toEqual(Object.fromEntries(shared.map(([key]) => [key, config[key]])));
      expect(gguf.config.head_dim).toBe(64);
    });
  },
);
