import { EPISODES } from './episodes.ts'
import { FAULTS, type Fault } from './faults.ts'
import { OPERATIONS, type Operation } from './history.ts'
import type { Outcome } from './outcome.ts'
import { DAY, HOUR, type Pace } from './settings.ts'

/** Beyond so many worlds each kind of fault must have come up in one of them, and each kind of act. */
const ALL_WITHIN = 400
/** So many times as fast as time the worlds have to be. */
const TIMES_LEAST = 1_000

/** The worlds of one pace together. */
class PaceSum {
  worlds = 0
  simulatedMs = 0
  restMs = 0
  /** The world that took longest to come to rest. */
  slowest = 0

  add({ seed, simulatedMs, restMs }: Outcome): void {
    this.worlds += 1
    this.simulatedMs += simulatedMs
    if (restMs > this.restMs) this.slowest = seed
    this.restMs = Math.max(this.restMs, restMs)
  }
}

/** What came of all worlds together. */
export class Sum {
  readonly #expected: readonly (Fault | Operation)[]
  readonly #paces = new Map<Pace, PaceSum>()
  readonly #operations = new Map<string, number>()
  readonly #faults = new Map<string, number>()
  readonly #known = new Map<string, number>()
  #passed = 0
  #failed = 0
  #startsMax = 0
  #startsSeed = 0

  /** Of worlds of these paces. */
  constructor(paces: readonly Pace[]) {
    const away = EPISODES.filter(({ odds }) => !paces.some((pace) => odds[pace] !== undefined))
    this.#expected = [...FAULTS.filter((fault) => !away.some((kind) => kind.fault === fault)), ...OPERATIONS]
  }

  get count(): number {
    return this.#passed + this.#failed
  }

  get failed(): number {
    return this.#failed
  }

  add(outcome: Outcome): void {
    const { seed, pace, violations, startsMax, operations, faults, known } = outcome
    if (violations.length === 0) this.#passed += 1
    else this.#failed += 1
    const of = this.#paces.get(pace) ?? new PaceSum()
    this.#paces.set(pace, of)
    of.add(outcome)
    if (startsMax > this.#startsMax) this.#startsSeed = seed
    this.#startsMax = Math.max(this.#startsMax, startsMax)
    addUp(this.#operations, operations)
    addUp(this.#faults, faults)
    addUp(this.#known, known)
  }

  /** What never came up, though there was room for all. */
  get missing(): readonly string[] {
    if (this.count < ALL_WITHIN) return []
    return this.#expected.filter((each) => !this.#faults.has(each) && !this.#operations.has(each))
  }

  print(elapsedMs: number): void {
    console.log('\nwhat was done:')
    printCounts(this.#operations)
    console.log('what went wrong on purpose:')
    printCounts(this.#faults)
    if (this.#known.size > 0) console.log('what came of faults that are known:')
    printCounts(this.#known)
    console.log()
    let simulatedMs = 0
    for (const [pace, sum] of this.#paces) {
      simulatedMs += sum.simulatedMs
      const days = (sum.simulatedMs / DAY).toFixed(1)
      const rest = `at rest within ${durationOf(sum.restMs)} of the last mend (seed ${sum.slowest})`
      console.log(`${sum.worlds} worlds of ${pace}: ${days} simulated days, ${rest}`)
    }
    console.log(`a task was begun ${this.#startsMax} times at most (seed ${this.#startsSeed})`)
    const ratio = Math.round(simulatedMs / elapsedMs)
    const enough = ratio < TIMES_LEAST ? `, less than ${TIMES_LEAST.toLocaleString('en')}` : ''
    console.log(`in ${(elapsedMs / 1000).toFixed(1)} s: ${ratio.toLocaleString('en')} times as fast as time${enough}`)
    for (const each of this.missing) console.log(`never happened: ${each}`)
    console.log(`${this.#passed} passed, ${this.#failed + this.missing.length} failed`)
  }
}

function addUp(sums: Map<string, number>, counts: Readonly<Record<string, number>>): void {
  for (const [name, count] of Object.entries(counts)) sums.set(name, (sums.get(name) ?? 0) + count)
}

function printCounts(counts: ReadonlyMap<string, number>): void {
  for (const [name, count] of [...counts].sort(([, one], [, other]) => other - one)) {
    console.log(`  ${count.toLocaleString('en').padStart(12)}  ${name}`)
  }
}

function durationOf(ms: number): string {
  return ms < HOUR ? `${Math.round(ms / 1000)} s` : `${(ms / HOUR).toFixed(1)} h`
}
