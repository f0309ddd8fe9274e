/** A Slurm of one machine for tests: its daemons are processes of the test, with files and ports of their own. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

const MUNGED = '/usr/sbin/munged';
const SLURMCTLD = '/usr/sbin/slurmctld';
const SLURMD = '/usr/sbin/slurmd';

/** Daemons are up within two seconds, and jobs of a test take ten. Other tests may keep the processors busy. */
const PATIENCE_MS = 60_000;

export interface Slurm {
  /** Runs a command of Slurm, as `sbatch`, and returns what it prints. */
  readonly command: (name: string, args: readonly string[], env?: Readonly<Record<string, string>>) => string;
  /** Waits until no job is waiting or running. */
  readonly idle: () => Promise<void>;
  readonly stop: () => Promise<void>;
}

/** Starts it with files in `folder`, which must be empty. Its tasks run one after the other. */
export async function startSlurm(folder: string): Promise<Slurm> {
  for (const file of [MUNGED, SLURMCTLD, SLURMD])
    if (!existsSync(file))
      throw new Error(`There is no ${file}. Install it: apt-get install --no-install-recommends slurm-wlm munge`);
  const [controllerPort, nodePort] = [await freePort(), await freePort()];
  const config = writeConfig(folder, controllerPort, nodePort);
  const environment = { PATH: process.env.PATH ?? '', SLURM_CONF: config };
  const command: Slurm['command'] = (name, args, env = {}) =>
    execFileSync(name, args, { encoding: 'utf8', cwd: folder, env: { ...environment, ...env } }).trim();
  const daemons: ChildProcess[] = [];
  const daemon = (file: string, args: readonly string[]) =>
    void daemons.push(spawn(file, args, { stdio: 'ignore', env: environment }));
  const stop = async () => {
    for (const child of daemons.toReversed()) await end(child);
  };
  try {
    daemon(MUNGED, ['--foreground', '--force', ...mungeFiles(folder)]);
    await until('munged listens', () => existsSync(join(folder, 'munge.socket')), folder);
    daemon(SLURMCTLD, ['-D']);
    daemon(SLURMD, ['-D']);
    await until('the node is idle', () => command('sinfo', ['--noheader', '--format=%T']) === 'idle', folder);
  } catch (error) {
    await stop();
    throw error;
  }
  const idle = () => until('all jobs are done', () => command('squeue', ['--noheader']) === '', folder);
  return { command, idle, stop };
}

function mungeFiles(folder: string): string[] {
  const at = (name: string) => join(folder, `munge.${name}`);
  writeFileSync(at('key'), randomBytes(128), { mode: 0o600 });
  return ['key-file', 'socket', 'pid-file', 'log-file', 'seed-file'].map((option) => {
    return `--${option}=${at(option.replace('-file', ''))}`;
  });
}

/** Nothing of it touches the machine: no control groups, no accounting, no user but the test's own. */
function writeConfig(folder: string, controllerPort: number, nodePort: number): string {
  const at = (name: string) => join(folder, name);
  for (const name of ['state', 'spool']) mkdirSync(at(name));
  // The plugin is always loaded. In a folder that is not there, it finds no groups.
  writeFileSync(at('cgroup.conf'), `CgroupPlugin=cgroup/v1\nCgroupMountpoint=${at('no-groups')}\n`);
  const lines = [
    'ClusterName=lacuna',
    `SlurmctldHost=${hostname()}(127.0.0.1)`,
    `SlurmctldPort=${controllerPort}`,
    `SlurmdPort=${nodePort}`,
    'SlurmUser=root',
    'SlurmdUser=root',
    'AuthType=auth/munge',
    `AuthInfo=socket=${at('munge.socket')}`,
    'CredType=cred/munge',
    `StateSaveLocation=${at('state')}`,
    `SlurmdSpoolDir=${at('spool')}`,
    ...['Slurmctld', 'Slurmd'].flatMap((name) => [
      `${name}PidFile=${at(`${name}.pid`)}`,
      `${name}LogFile=${at(`${name}.log`)}`,
    ]),
    'ProctrackType=proctrack/linuxproc',
    'TaskPlugin=task/none',
    'SelectType=select/linear',
    'MpiDefault=none',
    'JobAcctGatherType=jobacct_gather/none',
    'AccountingStorageType=accounting_storage/none',
    // Tasks that become free start at once.
    'SchedulerParameters=sched_interval=1,batch_sched_delay=0',
    `NodeName=${hostname()} NodeAddr=127.0.0.1 CPUs=1`,
    'PartitionName=all Nodes=ALL Default=YES',
  ];
  writeFileSync(at('slurm.conf'), `${lines.join('\n')}\n`);
  return at('slurm.conf');
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  await once(server.close(), 'close');
  if (address === null || typeof address === 'string') throw new Error('The system gave no port');
  return address.port;
}

/** Commands fail while the controller is not there yet. */
async function until(what: string, holds: () => boolean, folder: string): Promise<void> {
  const end = performance.now() + PATIENCE_MS;
  for (let last: unknown; ; ) {
    try {
      if (holds()) return;
    } catch (error) {
      last = error;
    }
    if (performance.now() > end) throw new Error(`It did not become true that ${what}.\n${last}\n${logs(folder)}`);
    await sleep(100);
  }
}

function logs(folder: string): string {
  const files = ['munge.log', 'Slurmctld.log', 'Slurmd.log'].map((name) => join(folder, name));
  return files.map((file) => (existsSync(file) ? readFileSync(file, 'utf8').slice(-2000) : `no ${file}`)).join('\n\n');
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const closed = once(child, 'close');
  child.kill('SIGTERM');
  const hard = setTimeout(() => child.kill('SIGKILL'), PATIENCE_MS);
  await closed;
  clearTimeout(hard);
}
