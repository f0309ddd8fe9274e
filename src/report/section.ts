/** A section of a page: what it says of the data, or why it says nothing. */
import type { FolderData, ReportData, StatisticsData } from './data.ts';
import type { Html } from './html.ts';

export type Content =
  | {
      readonly kind: 'shown';
      /** What there is to see, in a sentence or two. */
      readonly lede: string | Html;
      readonly body: Html;
    }
  | {
      readonly kind: 'aside';
      readonly because: string;
      /** What would change that, line by line. */
      readonly commands: readonly string[];
    };

export interface Section {
  /** Of the section's place in the page. */
  readonly id: string;
  readonly title: string;
  /** undefined where a page of this kind has no such section. */
  readonly show: (data: ReportData) => Content | undefined;
}

export function aside(because: string, commands: readonly string[] = []): Content {
  return { kind: 'aside', because, commands };
}

export function shown(lede: string | Html, body: Html): Content {
  return { kind: 'shown', lede, body };
}

type Show<Data> = (data: Data) => Content;

/** Of a model folder. */
export function ofFolder(id: string, title: string, show: Show<FolderData>): Section {
  return { id, title, show: (data) => (data.kind === 'folder' ? show(data) : undefined) };
}

/** Of what calibration measured, before any plan. */
export function ofStatistics(id: string, title: string, show: Show<StatisticsData>): Section {
  return { id, title, show: (data) => (data.kind === 'statistics' ? show(data) : undefined) };
}

export function ofBoth(id: string, title: string, show: Show<ReportData>): Section {
  return { id, title, show };
}
