/** Runs cases of `hub`. Arguments: a model's folder, one to work in, the seed, and those of `serve`. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { randomOfCase } from '../harness/random.ts';
import { withFolder } from '../harness/scratch.ts';
import { serve } from '../harness/serve.ts';
import { faultOfCommand, runCommand } from '../inputs/command.ts';
import { type Behaviour, chooseBehaviour, startServer } from './server.ts';

const [model, work, seed, ...range] = process.argv.slice(2);
const content = new Map(readdirSync(model).map((name) => [name, readFileSync(join(model, name))]));
let behaviour: Behaviour = chooseBehaviour(randomOfCase(0, 0));
const endpoint = await startServer(content, () => behaviour);

await serve(range, async (index) => {
  behaviour = chooseBehaviour(randomOfCase(Number(seed), index));
  const folder = join(work, String(index));
  return withFolder(folder, async () => {
    const args = ['inspect', 'owner/model'];
    // Delays and patience are shorter than a user's, so that giving up takes seconds.
    const hub = { endpoint, cacheFolder: join(folder, 'cache'), retryDelayMs: 1, stallMs: 300 };
    const fault = faultOfCommand(args, await runCommand(args, { hub }));
    const others = readdirSync(folder).filter((name) => name !== 'cache');
    const why = fault ?? (others.length > 0 ? `wrote outside of its cache: ${others.join(', ')}` : undefined);
    return why && `listing: ${behaviour.listing.name}, files: ${behaviour.files.name}: ${why}`;
  });
});
