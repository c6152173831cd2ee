/** Runs fleets in simulated time and says which broke a promise. */
import { availableParallelism } from 'node:os'
import { readOptions } from '../options.ts'
import { BUGS, type Bug } from './bugs.ts'
import type { Outcome } from './outcome.ts'
import { runWorlds } from './pool.ts'
import { PACES, type Pace, paceOf } from './settings.ts'
import { Sum } from './sum.ts'
import { runWorld } from './world.ts'

const HELP = `usage: node test/simulation/main.ts [options]

  --seeds N      so many worlds; 500 unless said
  --first N      from this one on; 1 unless said
  --pace PACE    only those of ${PACES.join(' or of ')}
  --seed N       one world alone
  --verbose      with all that happened in it
  --bug NAME     with a mistake made on purpose: ${BUGS.join(', ')}
  --help         this text
`

const values = readOptions(HELP, {
  seeds: { type: 'string', default: '500' },
  first: { type: 'string', default: '1' },
  pace: { type: 'string' },
  seed: { type: 'string' },
  bug: { type: 'string' },
  verbose: { type: 'boolean', default: false },
})

const SHOWN_MAX = 5

function wholeNumber(name: string, text: string): number {
  const number = Number(text)
  if (Number.isSafeInteger(number) && number >= 1) return number
  console.error(`--${name} ${text} is no whole number from 1 on; for example --${name} 2000`)
  process.exit(64)
}

function oneOf<T extends string>(name: string, words: readonly T[], text: string | undefined): T | null {
  if (text === undefined) return null
  const word = words.find((each) => each === text)
  if (word !== undefined) return word
  console.error(`--${name} ${text} is none of: ${words.join(', ')}`)
  process.exit(64)
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

function seedsFrom(first: number, count: number, pace: Pace | null): number[] {
  const seeds: number[] = []
  for (let seed = first; seeds.length < count; seed += 1) {
    if (pace === null || paceOf(seed) === pace) seeds.push(seed)
  }
  return seeds
}

async function runMany(seeds: readonly number[], bug: Bug | null, sum: Sum): Promise<void> {
  const count = seeds.length
  const step = Math.max(1, Math.round(count / 10))
  await runWorlds(seeds, Math.min(availableParallelism(), count), bug, (outcome) => {
    sum.add(outcome)
    if (outcome.violations.length > 0) printFailure(outcome)
    if (sum.count % step === 0) console.log(`${sum.count} of ${count} worlds, ${sum.failed} failed`)
  })
}

const bug = oneOf<Bug>('bug', BUGS, values.bug)
const pace = oneOf<Pace>('pace', PACES, values.pace)
const sum = new Sum(pace === null ? PACES : [pace])
const begun = performance.now()
if (values.seed !== undefined) {
  const outcome = await runOne(wholeNumber('seed', values.seed), bug)
  sum.add(outcome)
  if (outcome.violations.length > 0) printFailure(outcome)
} else {
  await runMany(seedsFrom(wholeNumber('first', values.first), wholeNumber('seeds', values.seeds), pace), bug, sum)
}
sum.print(performance.now() - begun)
process.exitCode = sum.failed + sum.missing.length > 0 ? 1 : 0
