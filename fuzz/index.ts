/** Every campaign, in the order of running. `share` is its part of the time, relative to the others'. */
import type { Campaign } from './campaign.ts';
import { disk } from './disk.ts';
import { hub } from './hub.ts';
import { inputs } from './inputs.ts';
import { kills } from './kills.ts';
import { locks } from './locks.ts';
import { operators } from './operators.ts';

export const CAMPAIGNS: readonly (Campaign & { readonly share: number })[] = [
  { ...inputs, share: 6 },
  { ...operators, share: 3 },
  { ...hub, share: 1 },
  { ...locks, share: 1 },
  { ...disk, share: 1 },
  // Last, because its commands first run without a kill, which may take longer than its share.
  { ...kills, share: 3 },
];
