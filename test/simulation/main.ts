/** Runs fleets in simulated time and says which broke a promise. */
import { availableParallelism } from 'node:os'
import { readOptions } from '../options.ts'
import { BUGS, type Bug } from './bugs.ts'
import { FAULTS } from './faults.ts'
import { runWorlds } from './pool.ts'
import type { Outcome } from './outcome.ts'
import { runWorld } from './world.ts'

const HELP = `usage: node test/simulation/main.ts [options]

  --seeds N      so many worlds; 500 unless said
  --first N      from this one on; 1 unless said
  --seed N       one world alone
  --verbose      with all that happened in it
  --bug NAME     with a mistake made on purpose: ${BUGS.join(', ')}
  --help         this text
`

const values = readOptions(HELP, {
  seeds: { type: 'string', default: '500' },
  first: { type: 'string', default: '1' },
  seed: { type: 'string' },
  bug: { type: 'string' },
  verbose: { type: 'boolean', default: false },
})

/** Beyond so many worlds each kind of fault must have come up in one of them. */
const EVERY_FAULT_WITHIN = 100
const SHOWN_MAX = 5

function wholeNumber(name: string, text: string): number {
  const number = Number(text)
  if (Number.isSafeInteger(number) && number >= 1) return number
  console.error(`--${name} ${text} is no whole number from 1 on; for example --${name} 2000`)
  process.exit(64)
}

function readBug(text: string | undefined): Bug | null {
  if (text === undefined) return null
  const bug = BUGS.find((each) => each === text)
  if (bug !== undefined) return bug
  console.error(`--bug ${text} is none of: ${BUGS.join(', ')}`)
  process.exit(64)
}

/** What came of all worlds together. */
class Sum {
  passed = 0
  readonly failed: Outcome[] = []
  simulatedMs = 0
  readonly #operations = new Map<string, number>()
  readonly #faults = new Map<string, number>()

  get count(): number {
    return this.passed + this.failed.length
  }

  add(outcome: Outcome): void {
    if (outcome.violations.length === 0) this.passed += 1
    else this.failed.push(outcome)
    this.simulatedMs += outcome.simulatedMs
    addUp(this.#operations, outcome.operations)
    addUp(this.#faults, outcome.faults)
  }

  /** Faults that never came up, though there was room for all. */
  get missing(): string[] {
    return this.count < EVERY_FAULT_WITHIN ? [] : FAULTS.filter((fault) => !this.#faults.has(fault))
  }

  print(elapsedMs: number): void {
    const days = this.simulatedMs / 86_400_000
    const ratio = Math.round(this.simulatedMs / elapsedMs)
    console.log('\nwhat was done:')
    printCounts(this.#operations)
    console.log('what went wrong on purpose:')
    printCounts(this.#faults)
    console.log(
      `\n${days.toFixed(1)} simulated days in ${(elapsedMs / 1000).toFixed(1)} s: ${ratio.toLocaleString('en')} times as fast as time`,
    )
    for (const fault of this.missing) console.log(`never happened: ${fault}`)
    console.log(`${this.passed} passed, ${this.failed.length + this.missing.length} failed`)
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

function printFailure({ seed, violations }: Outcome): void {
  console.log(`seed ${seed} failed; again: make simulate SEED=${seed}`)
  for (const violation of violations.slice(0, SHOWN_MAX)) console.log(`  ${violation}`)
  if (violations.length > SHOWN_MAX) console.log(`  and ${violations.length - SHOWN_MAX} more`)
}

async function runOne(seed: number, bug: Bug | null): Promise<Outcome> {
  const outcome = await runWorld(seed, { bug, verbose: values.verbose })
  for (const line of outcome.lines) console.log(line)
  console.log(`history ${outcome.digest}`)
  return outcome
}

async function runMany(first: number, count: number, bug: Bug | null, sum: Sum): Promise<void> {
  const seeds = Array.from({ length: count }, (_, n) => first + n)
  const step = Math.max(1, Math.round(count / 10))
  await runWorlds(seeds, Math.min(availableParallelism(), count), bug, (outcome) => {
    sum.add(outcome)
    if (outcome.violations.length > 0) printFailure(outcome)
    if (sum.count % step === 0) console.log(`${sum.count} of ${count} worlds, ${sum.failed.length} failed`)
  })
}

const bug = readBug(values.bug)
const sum = new Sum()
const begun = performance.now()
if (values.seed !== undefined) {
  const outcome = await runOne(wholeNumber('seed', values.seed), bug)
  sum.add(outcome)
  if (outcome.violations.length > 0) printFailure(outcome)
} else await runMany(wholeNumber('first', values.first), wholeNumber('seeds', values.seeds), bug, sum)
sum.print(performance.now() - begun)
process.exitCode = sum.failed.length + sum.missing.length > 0 ? 1 : 0
