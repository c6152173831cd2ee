import type { Fault } from './faults.ts'
import type { Operation } from './history.ts'
import type { KnownFault } from './rule-parts.ts'
import { type Pace, paceOf } from './settings.ts'

/** What came of one world. */
export interface Outcome {
  readonly seed: number
  readonly pace: Pace
  readonly violations: readonly string[]
  /** Two runs of one seed that differ in anything differ in this. */
  readonly digest: string
  readonly simulatedMs: number
  /** How long it took to come to rest, once everything was mended and no credential was of a time to come. */
  readonly restMs: number
  /** How often one task was begun at most. */
  readonly startsMax: number
  /** How often faults showed that the programs are known to have. */
  readonly known: Readonly<Partial<Record<KnownFault, number>>>
  readonly operations: Readonly<Partial<Record<Operation, number>>>
  readonly faults: Readonly<Partial<Record<Fault, number>>>
  readonly lines: readonly string[]
}

/** That of a world which could not be run to its end. */
export function brokenDown(seed: number, why: string): Outcome {
  const nothing = {
    digest: '',
    simulatedMs: 0,
    restMs: 0,
    startsMax: 0,
    known: {},
    operations: {},
    faults: {},
    lines: [],
  }
  return { seed, pace: paceOf(seed), violations: [why], ...nothing }
}
