/** The power is lost at each moment of what programs do with their files: what was answered is there. Some states of each kind. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { BUGS, type Bug } from './bugs.ts'
import { lacksOf, type RunOrder, replayScenario, type Sum } from './campaign.ts'
import { MEMORY, NO_COMPILER, type Recording, record, recorder } from './recording.ts'
import { Replay } from './replay.ts'
import { SCENARIOS, scenarioOf } from './scenarios/all.ts'

const STATES = 300
/** A program that is killed first costs two starts for each death. */
const DEATHS_EVERY = 6
const library = recorder()
const recorded = new Map<string, Promise<Recording[]>>()

function recordedOnce(name: string): Promise<Recording[]> {
  const recordings = recorded.get(name) ?? record(scenarioOf(name), library ?? '', { every: DEATHS_EVERY })
  recorded.set(name, recordings)
  return recordings
}

/** Replays one order after the other, each recording in a folder of its own. */
async function replay(name: string, recordings: readonly Recording[], states: number): Promise<Sum> {
  const folder = mkdtempSync(join(MEMORY, 's2-powerloss-test-'))
  const replays = new Map(
    recordings.map((each, index) => [
      each.name,
      new Replay(scenarioOf(name), each.journal, join(folder, String(index)), 1),
    ]),
  )
  let last: Promise<unknown> = Promise.resolve()
  const run: RunOrder = (order) => {
    const replayed = last.then(() => (replays.get(order.recording) as Replay).run(order))
    last = replayed
    return replayed
  }
  try {
    return await replayScenario(name, recordings, states, run)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

function sentencesOf({ faults }: Sum): string[] {
  return [...new Set(faults.flatMap(({ sentences }) => sentences))]
}

for (const { name, whyNot = false } of SCENARIOS) {
  test(`after a loss of power, ${name}: what was answered is there`, {
    skip: library === null ? NO_COMPILER : whyNot,
  }, async () => {
    const sum = await replay(name, await recordedOnce(name), STATES)
    assert.deepEqual(sentencesOf(sum), [])
    assert.deepEqual(lacksOf(sum), [])
  })
}

for (const bug of Object.keys(BUGS) as Bug[]) {
  test(`a mistake made on purpose is found: ${bug}`, { skip: library === null && NO_COMPILER }, async () => {
    const { scenario, plant } = BUGS[bug]
    const recordings = await recordedOnce(scenario)
    const sum = await replay(
      scenario,
      recordings.map((each) => ({ ...each, journal: plant(each.journal) })),
      STATES,
    )
    assert.ok(sum.faults.length > 0, `${sum.states} states, and none shows it`)
  })
}
