// Types of the page's scripts, which `tsc` checks (tsconfig.json): they share one scope, and these names with it.
// What Python writes into the page is `Data`; report/page.py and report/page_data.py make it.

interface Region { name: string; colour: string; virtual: boolean }
interface Cities {
  ids: number[]; names: string[]; region: number[];
  /** Tenths of a degree. */
  lon: Int16Array; lat: Int16Array;
  // Added by data.js and, when they are first asked for, by city.js.
  n: number; keys: string[]; at: Map<string, number>; plain?: string[];
}
interface Group {
  name: string; virtual?: boolean; n: number | null;
  mean_km: (number | null)[]; lon_r2?: (number | null)[]; lat_r2?: (number | null)[];
}
interface Probe {
  name: string; title: string; steps: number[];
  /** "1" for each city that the probe was not fitted on. */
  held: string;
  lon: Int16Array; lat: Int16Array; error_km: Int16Array; radial_km?: Int16Array; tangential_km?: Int16Array;
  groups: Group[]; by_region: Group[];
}
interface Column {
  title: string; digits?: number | null; text?: boolean; signed?: boolean; tip?: string;
  /** What a press on a cell does, if anything. */
  press?: (cell: any) => (() => void) | false | null | undefined;
}
type Cell = string | number | null | undefined;
interface Table { columns: Column[]; rows: Cell[][] }
interface Curve {
  label: string; steps: number[]; values: (number | null)[]; low?: (number | null)[]; high?: (number | null)[];
  hue?: number; dash?: number; colour?: string | null; thin?: boolean; faint?: boolean;
}
interface Rule { label: string; value: number; hue?: number | null; dash?: number }
interface Band { label: string; hue: number; steps: number[]; low: (number | null)[]; high: (number | null)[] }
interface Words { name: string; what: string; reading: string }
interface Panel {
  id: string; title: string; section: string; digits: number; unit: string;
  series: Curve[]; rules: Rule[]; bands: Band[]; words?: Words[]; floor?: number; ceiling?: number; lowest?: number;
}
interface Variants { steps: number[]; rows: { variant: string; group: string; n: number; mean_km: (number | null)[] }[] }
interface Run {
  name: string; path: string; thinned: string; config: string; files: string[]; lacks: Record<string, string>;
  cards: { label: string; value: string; remark: string }[];
  about: { label: string; value: string; code?: boolean }[];
  regions: Region[]; cities: Cities; probes: Record<string, Probe>; panels: Panel[];
  /** k of each city, [steps x cities x k]: numbers of cities, MISSING for one that is not on the maps. */
  neighbours: { steps: number[]; k: number; near: Int16Array } | null;
  table: Table; when: Table | null; answers: (Table & { step: number }) | null; variants: Variants | null;
}
interface Data {
  title: string; version: string; land: number[][];
  fine: { lengths: number[]; points: string }; runs: Run[]; protocols: Record<string, string>;
  finding: { title: string; verdict: string; text: string; seeds: string }[];
  sections: { id: string; title: string; note: string }[];
  parts: Words[]; means: { n: number; panels: Panel[] } | null; comparison: Table;
}

/** A probe's places; `index` is, for each place on a timeline, the number of the probe's own step. */
interface Seen { probe: Probe; cities: Cities; index: number[] }
/** A map that is shown: a run's cities by one probe. */
interface View extends Seen {
  run: Run;
  /** Its step is the one that others are compared with, not the slider's. */
  isFixed: boolean;
  /** For each region its cities that are drawn. */
  members?: number[][];
  canvas: HTMLCanvasElement; base: HTMLCanvasElement; caption: HTMLElement; numbers: HTMLElement;
  width: number; height: number;
  fingers?: Map<number, number[]>; travel?: number; virtualMiddles?: { lon: number; lat: number }[];
}
interface State {
  run: number; layout: string; protocol: string; base: number; position: number; target: number;
  only: Set<string>; picked: string | null; pinned: boolean; timer: number; frame: number;
  isMoved: boolean; isOutlining: boolean; area: Area | null; chosen: Set<string> | null;
}
/** An outline on a map, in its plane: a run's number, the name of its probe, the step, and where the camera stood. */
interface Area { run: number; probe: string; step: number; kind: string; lon: number; lat: number; ring: number[] }
/** [lon, lat] in tenths of a degree, or [x, y]. */
type Place = [number, number];
interface Scale { x: (step: number) => number; y: (value: number) => number; low: number; high: number; lastStep: number; span: number }
interface Order { column: number; down?: boolean; most?: number }
type SelectName = "layout" | "protocol" | "base" | "look" | "projection" | "cities" | "colour" | "lines";
type TableName = "table" | "when" | "answers" | "compare" | "city-table" | "regions" | "variants";
/** Attributes of a row. */
type RowLook = (row: Cell[]) => Look;
/** What draws a map: a canvas's context, or one that writes SVG. */
type Pen = any;
type Look = Record<string, string | number | boolean>;

/** The page's elements by their id. Every other id is of a section, a heading or a box. */
interface Controls {
  data: HTMLScriptElement; compare: HTMLTableElement; when: HTMLTableElement; answers: HTMLTableElement;
  table: HTMLTableElement; regions: HTMLTableElement; "city-table": HTMLTableElement; variants: HTMLTableElement;
  layout: HTMLSelectElement; protocol: HTMLSelectElement; base: HTMLSelectElement; look: HTMLSelectElement;
  projection: HTMLSelectElement; cities: HTMLSelectElement; colour: HTMLSelectElement; lines: HTMLSelectElement;
  find: HTMLInputElement; step: HTMLInputElement; seeds: HTMLInputElement; link: HTMLTextAreaElement;
  more: HTMLDetailsElement; "config-section": HTMLDetailsElement;
}
