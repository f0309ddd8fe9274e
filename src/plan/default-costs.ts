/**
 * The costs of a host that `lacuna host` was never run on, for two threads of a processor with AVX-512. Rough: they are
 * reckoned from measured blocks and decode steps (docs/operators.md, docs/benchmarks.md) and were not fitted.
 */
import { COSTS_FORMAT, COSTS_VERSION, type HostCosts, type StorageCosts } from '../core/host-costs.ts';
import type { HostKind } from '../core/host-kind.ts';

const RECKONED_FOR = { processor: 'x86-64 with AVX-512', threads: 2, onnxruntime: '1.30.0', lacuna: '0.1.0' } as const;

function hostCosts(host: HostKind, precisions: Readonly<Record<string, StorageCosts>>): HostCosts {
  const key = { host, ...RECKONED_FOR, operatorSet: host === 'native' ? 2 : null };
  return { format: COSTS_FORMAT, version: COSTS_VERSION, key, precisions };
}

/** Kernels read weights at the rate of memory, records of chosen neurons at two thirds of it, and half of a head in blocks. */
const KERNELS: StorageCosts = {
  ...{ step: 1e-4, head: 32e-12, layer: 6e-6, product: 32e-12, cache: 30e-12, block: 6e-6 },
  ...{ choose: 5e-6, scan: 32e-12, gather: 0, row: 48e-12, test: 5e-6, skipped: 2e-6 },
};

/** `product` by precision. Every small operator counts, and the whole cache is copied. */
const bodies = (product: number): StorageCosts => ({
  ...{ step: 5e-4, head: product, layer: 110e-6, product, cache: 590e-12, block: 20e-6 },
  ...{ choose: 30e-6, scan: product, gather: 30e-6, row: 3 * product, test: 60e-6, skipped: 16e-6 },
});

/** A precision without an entry has the costs of the larger one before it. */
export const DEFAULT_COSTS: Readonly<Record<HostKind, HostCosts>> = {
  native: hostCosts('native', { fp32: KERNELS, int8: { ...KERNELS, head: 18e-12 } }),
  // A weight takes 120, 45 and 28 picoseconds; one in planes as long as one in 8 bits.
  stock: hostCosts('stock', {
    fp32: bodies(30e-12),
    int8: bodies(42e-12),
    int6: { ...bodies(55e-12), head: 42e-12 },
    int5: { ...bodies(65e-12), head: 42e-12 },
    int4: { ...bodies(50e-12), head: 42e-12 },
  }),
};
