// Runs a benchmark written in TypeScript: node bench/run.js NAME [OPTIONS].
import { importTypeScript } from '../scripts/bundle.js';

const [name] = process.argv.splice(2, 1);
await importTypeScript(`bench/${name}.ts`);
