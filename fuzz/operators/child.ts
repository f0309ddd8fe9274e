/** Runs cases of `operators`. Arguments: the folder of the library, the seed, and those of `serve`. */
import { join } from 'node:path';
import { loadAddon, runtimeLibrary } from '../../src/runtime/native-addon.ts';
import { serve } from '../harness/serve.ts';
import { chooseCase } from './case.ts';
import { createRunner } from './run-case.ts';

const [folder, seed, ...range] = process.argv.slice(2);
const runner = createRunner({
  addon: loadAddon(join(folder, 'lacuna_node.node')),
  runtime: await runtimeLibrary(),
  operators: join(folder, 'liblacuna_ort.so'),
});

await serve(range, (index) => runner.run(chooseCase(Number(seed), index)));
