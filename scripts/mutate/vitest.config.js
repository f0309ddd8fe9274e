// Tests of one mutant. The file is changed on its way to vitest, never on disk.
import { join } from 'node:path';
import { mergeConfig } from 'vitest/config';
import { BaseSequencer } from 'vitest/node';
import base from '../../vitest.config.ts';

const root = join(import.meta.dirname, '../..');
const { mutant, tests } = JSON.parse(process.env.LACUNA_MUTANT);

const change = {
  name: 'mutant',
  enforce: 'pre',
  transform(code, id) {
    if (mutant === undefined || id !== join(root, mutant.file)) return undefined;
    return code.slice(0, mutant.start) + mutant.text + code.slice(mutant.end);
  },
};

class ClosestFirst extends BaseSequencer {
  async sort(files) {
    const place = ({ moduleId }) => tests.findIndex((test) => join(root, test) === moduleId);
    return files.toSorted((a, b) => place(a) - place(b));
  }
}

const merged = mergeConfig(base, { plugins: [change] });
merged.test.sequence = { sequencer: ClosestFirst };
export default { ...merged, root };
