/** Makes small mistakes in what must not be wrong, one at a time, and says which of them no test sees. */
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { readOptions } from '../options.ts'
import { Dice } from '../simulation/chance.ts'
import { Copy, Limits } from './copies.ts'
import { GROUPS, type Group, testPath } from './groups.ts'
import { type Mutant, mutantsOf, mutated } from './mutants.ts'
import { SURVIVORS } from './survivors.ts'

const HELP = `usage: node test/mutate/main.ts [options]

  --only NAME   one group: ${GROUPS.map(({ name }) => name).join(', ')}
  --file TEXT   only files whose names have this
  --share N     so much of all mutants, drawn by --seed; 1 unless said
  --seed TEXT   another draw
  --again       also those whose outcome is known from an earlier run of the same code
  --help        this text

Ends with 1 where fewer than 90 of 100 are killed.
`
const values = readOptions(HELP, {
  only: { type: 'string' },
  file: { type: 'string', default: '' },
  share: { type: 'string', default: '1' },
  seed: { type: 'string', default: '1' },
  again: { type: 'boolean', default: false },
})
const share = Number(values.share)
const groups = GROUPS.filter(({ name }) => values.only === undefined || name === values.only)
if (groups.length === 0 || !(share > 0 && share <= 1)) {
  console.error(HELP)
  process.exit(64)
}

const ROOT = resolve(import.meta.dirname, '..', '..')
const KEPT = join(ROOT, 'node_modules', '.cache', 's2-mutate.json')
const KILLED_AT_LEAST = 0.9

interface Job {
  readonly group: Group
  readonly file: string
  readonly mutant: Mutant
  readonly digest: string
}

/** The test that killed it, with a mark where it did so by hanging; null: it survived. */
type Outcome = string | null

const known = new Map<string, Outcome>(
  existsSync(KEPT) ? Object.entries(JSON.parse(readFileSync(KEPT, 'utf8')) as Record<string, Outcome>) : [],
)
const dice = new Dice(values.seed)
const jobs = groups.flatMap((group) => jobsOf(group)).filter(() => share === 1 || dice.chance(share))
const waiting = jobs.filter(({ digest }) => values.again || !known.has(digest))
console.log(`${jobs.length} mutants, of which ${jobs.length - waiting.length} are known from earlier runs`)
await runAll(waiting)
process.exitCode = tell(jobs) ? 0 : 1

function jobsOf(group: Group): Job[] {
  const tests = group.tests.map((name) => readFileSync(join(ROOT, testPath(name)), 'utf8')).join('\0')
  return group.files
    .filter((file) => file.includes(values.file))
    .flatMap((file) => {
      const source = readFileSync(join(ROOT, sourcePath(file)), 'utf8')
      return mutantsOf(sourcePath(file), source).map((mutant) => {
        const { start, to } = mutant
        const digest = createHash('sha256')
          .update(JSON.stringify([file, source, tests, start, to]))
          .digest('hex')
        return { group, file, mutant, digest }
      })
    })
}

function sourcePath(file: string): string {
  return `services/${file}.ts`
}

async function runAll(all: readonly Job[]): Promise<void> {
  if (all.length === 0) return
  const queue = [...all]
  const began = performance.now()
  const step = Math.max(1, Math.round(all.length / 20))
  const workers = Array.from({ length: Math.min(availableParallelism(), all.length) }, async () => {
    using copy = new Copy()
    const limits = new Limits(copy)
    for (let job = queue.shift(); job !== undefined; job = queue.shift()) {
      const outcome = await kill(copy, job, limits)
      known.set(job.digest, outcome)
      keep()
      if (outcome === null) console.log(`survived: ${inWords(job)}`)
      const done = all.length - queue.length
      if (done % step === 0)
        console.log(`${done} of ${all.length}, ${((performance.now() - began) / 60_000).toFixed(1)} min`)
    }
  })
  await Promise.all(workers)
}

async function kill(copy: Copy, { group, file, mutant }: Job, limits: Limits): Promise<Outcome> {
  await limits.measure(group.tests)
  const path = sourcePath(file)
  const source = copy.read(path)
  copy.write(path, mutated(source, mutant))
  try {
    for (const name of ownFirst(group.tests, file)) {
      const end = await copy.test(testPath(name), limits.of(name))
      if (end !== 'passed') return end === 'late' ? `${name} (it hangs)` : name
    }
    return null
  } finally {
    copy.write(path, source)
  }
}

/** The tests of a file itself, which are called as it is, see most of its mistakes. */
function ownFirst(tests: readonly string[], file: string): string[] {
  return tests.toSorted((one, other) => Number(other === file) - Number(one === file))
}

function keep(): void {
  mkdirSync(dirname(KEPT), { recursive: true })
  writeFileSync(KEPT, JSON.stringify(Object.fromEntries(known)))
}

function inWords({ file, mutant: { line, inside, from, to } }: Job): string {
  const short = (text: string): string => text.replaceAll(/\s+/g, ' ').slice(0, 80)
  return `${file}:${line} ${inside}: ${short(from)} => ${short(to)}`
}

/** Prints the score; answers whether it is reached. */
function tell(all: readonly Job[]): boolean {
  const survived = all.filter(({ digest }) => known.get(digest) === null)
  const hung = all.filter(({ digest }) => known.get(digest)?.endsWith('hangs)'))
  for (const { name } of groups) {
    const own = all.filter(({ group }) => group.name === name)
    const dead = own.filter(({ digest }) => known.get(digest) !== null)
    console.log(`${name}: ${dead.length} of ${own.length} killed`)
  }
  const reasonOf = ({ file, mutant }: Job): string | undefined =>
    SURVIVORS.find(
      (each) =>
        each.file === file && each.inside === mutant.inside && each.from === mutant.from && each.to === mutant.to,
    )?.why
  const unexplained = survived.filter((job) => reasonOf(job) === undefined)
  console.log(
    `\n${survived.length} survived, ${unexplained.length} of them without a reason in test/mutate/survivors.ts:`,
  )
  for (const job of unexplained) console.log(`  ${inWords(job)}`)
  for (const job of survived) if (reasonOf(job) !== undefined) console.log(`  known: ${inWords(job)}: ${reasonOf(job)}`)
  for (const job of hung) console.log(`  killed by a hang: ${inWords(job)}`)
  const score = (all.length - survived.length) / all.length
  console.log(`\n${(100 * score).toFixed(1)} % of ${all.length} killed`)
  return score >= KILLED_AT_LEAST
}
