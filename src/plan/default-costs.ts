/** The costs of a host that was never measured: `lacuna host` on one kind of processor, on two threads. */
import { COSTS_FORMAT, COSTS_VERSION, type HostCosts, type StorageCosts } from '../core/host-costs.ts';
import type { HostKind } from '../core/host-kind.ts';

const MEASURED_ON = {
  processor: 'Intel(R) Xeon(R) Processor',
  threads: 2,
  onnxruntime: '1.30.0',
  lacuna: '0.1.0',
} as const;

function defaults(host: HostKind, precisions: Readonly<Record<string, StorageCosts>>): HostCosts {
  const key = { host, ...MEASURED_ON, operatorSet: host === 'native' ? 2 : null };
  return { format: COSTS_FORMAT, version: COSTS_VERSION, key, precisions };
}

const GUESS: StorageCosts = {
  step: 2e-4,
  head: 3e-11,
  layer: 2e-5,
  product: 3e-11,
  cache: 1e-11,
  block: 2e-5,
  choose: 1e-5,
  scan: 3e-11,
  gather: 3e-5,
  row: 3.5e-11,
  test: 1e-5,
  skipped: 1e-6,
};

export const DEFAULT_COSTS: Readonly<Record<HostKind, HostCosts>> = {
  native: defaults('native', { fp32: GUESS }),
  stock: defaults('stock', {
    fp32: { ...GUESS, choose: 3e-5, gather: 3e-5, row: 9e-11, test: 6e-5, skipped: 1.6e-5 },
    int8: { ...GUESS, product: 42e-12, scan: 42e-12, choose: 3e-5, test: 6e-5, skipped: 1.6e-5 },
  }),
};
