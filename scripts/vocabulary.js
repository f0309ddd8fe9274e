// Writes the C++ side of the operators' vocabulary: npm run vocabulary.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { importTypeScript } from './bundle.js';

const { headers } = await importTypeScript('scripts/vocabulary.ts');
for (const { path, text } of headers()) writeFileSync(join(import.meta.dirname, '..', path), text);
