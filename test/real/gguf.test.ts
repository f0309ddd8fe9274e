/** The real models' GGUF files against the folders that fixtures/real/prepare.py made of them with gguf-py and NumPy. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { openModel } from '../../converters/index.ts';
import { openCheckpoint } from '../../formats/checkpoint.ts';
import { loadTokenizer } from '../../formats/tokenizer/index.ts';
import type { Checkpoint } from '../../src/core/checkpoint.ts';
import { cast } from '../../src/core/tensor.ts';
import { readTensorBytes } from '../../src/tensors/index.ts';
import { gemma, hasGemma, hasSmollm2, required, root, smollm2, testText } from './real-model.ts';

const cached = (name: string) => join(root, `fixtures/real/.cache/${name}.gguf`);
const MODELS = [
  { name: 'SmolLM2-135M', file: cached('smollm2-135m'), path: smollm2, has: hasSmollm2 },
  { name: 'Gemma-3-270M', file: cached('gemma-3-270m'), path: gemma, has: hasGemma },
];

for (const model of MODELS) checkModel(model, model.has && (required || existsSync(model.file)));

function checkModel({ name, file, path }: (typeof MODELS)[number], present: boolean): void {
  describe.runIf(present)(`${name} from GGUF`, { timeout: 120_000 }, () => {
    let gguf: Checkpoint;
    let folder: Checkpoint;
    beforeAll(async () => {
      gguf = await openCheckpoint(file);
      folder = await openCheckpoint(path);
    });

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
      expect(ours.hasChatTemplate).toBe(theirs.hasChatTemplate);
      if (!ours.hasChatTemplate) return;
      const [chat, wanted] = [ours, theirs].map((tokenizer) =>
        tokenizer.chat([{ role: 'user', content: 'Hi' }], { addGenerationPrompt: true }),
      );
      expect(chat).toBe(wanted);
    });

    it('is the same model to a converter', () => {
      const [ours, theirs] = [gguf, folder].map((checkpoint) => openModel(checkpoint, { precision: 'fp32' }).spec);
      expect(ours).toEqual(theirs);
    });

    it('has the config of the folder, as far as both say something', () => {
      const { config } = folder;
      const shared = Object.entries(gguf.config).filter(([key]) => key in config);
      expect(shared.length).toBeGreaterThan(15);
      expect(Object.fromEntries(shared)).toEqual(Object.fromEntries(shared.map(([key]) => [key, config[key]])));
    });
  });
}
