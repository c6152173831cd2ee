/** Takes the power away at every moment of what programs do with their files, and says what was lost that had been answered. */
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs'
import { availableParallelism, tmpdir } from 'node:os'
import { join } from 'node:path'
import { deserialize, serialize } from 'node:v8'
import { readOptions } from '../options.ts'
import { BUGS, type Bug } from './bugs.ts'
import { lacksOf, replayScenario, type Sum } from './campaign.ts'
import { withBuffers } from './journal.ts'
import { Pool } from './pool.ts'
import { NO_COMPILER, type Recording, record, recorder } from './recording.ts'
import { Replay } from './replay.ts'
import type { AnyScenario } from './scenario.ts'
import { SCENARIOS, scenarioOf } from './scenarios/all.ts'

const HELP = `usage: node test/powerloss/main.ts [options]

  --states N          so many different states; 100000 unless said
  --only NAME         of one scenario: ${SCENARIOS.map(({ name }) => name).join(', ')}
  --bug NAME          with a mistake made on purpose: ${Object.keys(BUGS).join(', ')}
  --seed N            what comes by chance; 1 unless said
  --recording FILE    a recording that a failed run kept, and
  --state CUT:STATE   the one state of it to lay out and to look at
  --help              this text
`

const values = readOptions(HELP, {
  states: { type: 'string', default: '100000' },
  only: { type: 'string' },
  bug: { type: 'string' },
  seed: { type: 'string', default: '1' },
  recording: { type: 'string' },
  state: { type: 'string' },
})

const SHOWN_MAX = 5
/** States of a scenario whose states do not settle take long, and are few: it gets one of so many. */
const SLOW_SHARE = 100
/** For so many states a program is killed after each of its records; for fewer after some of them, since each costs two starts. */
const ALL_DEATHS_STATES = 400_000

function fail(problem: string, code = 64): never {
  console.error(problem)
  process.exit(code)
}

function wholeNumber(name: string, text: string): number {
  const number = Number(text)
  return Number.isSafeInteger(number) && number >= 1 ? number : fail(`--${name} ${text} is no whole number from 1 on`)
}

function chosenScenarios(bug: Bug | null): readonly AnyScenario[] {
  const only = bug === null ? values.only : BUGS[bug].scenario
  const chosen = SCENARIOS.filter(({ name }) => only === undefined || name === only)
  return chosen.length > 0 ? chosen : fail(`--only ${only} is none of: ${SCENARIOS.map(({ name }) => name).join(', ')}`)
}

function chosenBug(): Bug | null {
  if (values.bug === undefined) return null
  const bug = Object.keys(BUGS).find((each) => each === values.bug)
  return bug === undefined ? fail(`--bug ${values.bug} is none of: ${Object.keys(BUGS).join(', ')}`) : (bug as Bug)
}

async function recordAll(scenarios: readonly AnyScenario[], library: string, threads: number): Promise<Recording[]> {
  const left = scenarios.filter(({ isKilledFirst }) => isKilledFirst !== true).values()
  const recordSome = async (): Promise<Recording[]> => {
    const recordings: Recording[] = []
    for (const scenario of left) recordings.push(...(await record(scenario, library)))
    return recordings
  }
  const recordings = (await Promise.all(Array.from({ length: threads }, recordSome))).flat()
  for (const scenario of scenarios.filter(({ isKilledFirst }) => isKilledFirst === true)) {
    const every = Math.max(1, Math.round(ALL_DEATHS_STATES / wholeNumber('states', values.states)))
    recordings.push(...(await record(scenario, library, { atOnce: threads, every })))
  }
  return recordings
}

/** Those that settle take what the others, which have few states, leave. */
async function replayAll(
  scenarios: readonly AnyScenario[],
  recordings: readonly Recording[],
  pool: Pool,
  states: number,
) {
  const sums: Sum[] = []
  const [fast, slow] = [scenarios.filter(({ settle }) => settle), scenarios.filter(({ settle }) => !settle)]
  let left = states
  const replay = async ({ name }: AnyScenario, target: number): Promise<void> => {
    const sum = await replayScenario(
      name,
      recordings.filter(({ scenario }) => scenario === name),
      target,
      pool.run,
    )
    left -= sum.states
    sums.push(sum)
    print(sum)
  }
  for (const each of slow) await replay(each, fast.length === 0 ? states : Math.ceil(states / SLOW_SHARE))
  for (const [index, each] of fast.entries()) await replay(each, Math.ceil(left / (fast.length - index)))
  return sums
}

function print(sum: Sum): void {
  const { scenario, steps, syncs, told, states, dropped, reordered, torn } = sum
  const counts = `${steps} steps, ${syncs} syncs, ${told} answers, ${states} states`
  console.log(`${scenario}: ${counts} (${dropped} dropped, ${reordered} reordered, ${torn} torn)`)
}

function printFaults({ scenario, faults }: Sum, recordings: readonly Recording[], folder: string): void {
  console.log(`${scenario} failed in ${faults.length} states`)
  for (const { recording, at, sentences } of faults.slice(0, SHOWN_MAX)) {
    const file = join(folder, recording.replaceAll(/\W/g, '-'))
    writeFileSync(file, serialize(recordings.find(({ name }) => name === recording)))
    console.log(`  ${sentences.join('; ')}`)
    console.log(`    again: node test/powerloss/main.ts --seed ${values.seed} --recording ${file} --state ${at}`)
  }
}

async function showState(file: string, state: string): Promise<void> {
  const { scenario, journal } = deserialize(readFileSync(file)) as Recording
  const folder = mkdtempSync(join(tmpdir(), 's2-powerloss-state-'))
  const replay = new Replay(scenarioOf(scenario), withBuffers(journal), folder, wholeNumber('seed', values.seed))
  const [at = 0, number = 0] = state.split(':').map(Number)
  const { faults } = await replay.run({ cuts: [at], first: number, end: number + 1 })
  for (const sentence of faults.flatMap(({ sentences }) => sentences)) console.log(sentence)
  replay.lay(at, number)
  console.log(`it lies in ${folder}`)
}

async function runAll(): Promise<void> {
  const library = recorder() ?? fail(NO_COMPILER, 1)
  const [bug, threads, begun] = [chosenBug(), availableParallelism(), performance.now()]
  const scenarios = chosenScenarios(bug).filter(({ name, whyNot = false }) => {
    if (whyNot !== false) console.log(`${name} is left out: ${whyNot}`)
    return whyNot === false
  })
  const recorded = await recordAll(scenarios, library, threads)
  const recordings = recorded.map((each) => (bug === null ? each : { ...each, journal: BUGS[bug].plant(each.journal) }))
  await using pool = new Pool(recordings, { threads, seed: wholeNumber('seed', values.seed) })
  const sums = await replayAll(scenarios, recordings, pool, wholeNumber('states', values.states))
  end(sums, recordings, (performance.now() - begun) / 1000)
}

function end(sums: readonly Sum[], recordings: readonly Recording[], seconds: number): void {
  const failed = sums.filter((sum) => sum.faults.length > 0 || lacksOf(sum).length > 0)
  const folder = failed.length === 0 ? '' : mkdtempSync(join(tmpdir(), 's2-powerloss-kept-'))
  for (const sum of failed) {
    for (const lack of lacksOf(sum)) console.log(`${sum.scenario}: ${lack}`)
    if (sum.faults.length > 0) printFaults(sum, recordings, folder)
  }
  const states = sums.reduce((all, sum) => all + sum.states, 0)
  console.log(`${states} states in ${seconds.toFixed(1)} s`)
  const wanted = values.only === undefined && values.bug === undefined ? wholeNumber('states', values.states) : 0
  const few = states < wanted ? 1 : 0
  if (few > 0) console.log(`fewer states than the ${wanted} that were asked for`)
  console.log(`${sums.length - failed.length} passed, ${failed.length + few} failed`)
  process.exitCode = failed.length + few > 0 ? 1 : 0
}

if (values.recording !== undefined && values.state !== undefined) await showState(values.recording, values.state)
else await runAll()
