/** A process that takes locks when it is told to: "take" is answered with "holding" or "refused", "release" with "free". */
import { withLock } from '../formats/lock.ts';
import { LacunaError } from '../src/core/errors.ts';

export type Order = { readonly order: 'take'; readonly path: string } | { readonly order: 'release' };
export type Answer = 'ready' | 'holding' | 'refused' | 'free' | `failed: ${string}`;

function answer(text: Answer): void {
  process.send?.(text);
}

let release = () => {};

async function take(path: string): Promise<void> {
  try {
    await withLock(path, path, async () => {
      const told = new Promise<void>((resolve) => {
        release = resolve;
      });
      answer('holding');
      await told;
    });
    answer('free');
  } catch (error) {
    const isRefusal = error instanceof LacunaError && error.code === 'exists';
    answer(isRefusal ? 'refused' : `failed: ${error instanceof Error ? error.stack : error}`);
  }
}

process.on('message', (message: Order) => {
  if (message.order === 'release') release();
  else void take(message.path);
});
process.on('disconnect', () => process.exit());
answer('ready');
