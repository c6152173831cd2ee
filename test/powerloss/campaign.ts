/** Which states of which recordings are looked at, until there are as many as asked for, and what was seen. */

import type { Recording } from './recording.ts'
import { cutsOf, type Fault, type Order, type Replayed } from './replay.ts'

/** Some states of one recording. */
export interface RecordingOrder extends Order {
  readonly recording: string
}

export type RunOrder = (order: RecordingOrder) => Promise<Replayed>

/** What was seen of one scenario. */
export interface Sum {
  readonly scenario: string
  readonly steps: number
  readonly told: number
  readonly syncs: number
  readonly states: number
  readonly dropped: number
  readonly reordered: number
  readonly torn: number
  readonly faults: readonly (Fault & { readonly recording: string })[]
}

const CUTS_OF_ORDER = 16
/** States of each cut in the first round. */
const FIRST_ROUND = 4
/** A round of which less than this is new is the last: there are hardly any more. */
const NEW_LEAST = 0.01

/** Looks at states of a scenario, in rounds over all cuts, until `target` different ones are found or there are no more. */
export async function replayScenario(
  scenario: string,
  recordings: readonly Recording[],
  target: number,
  run: RunOrder,
): Promise<Sum> {
  const keys = new Set<string>()
  const faults: Sum['faults'][number][] = []
  const count = { dropped: 0, reordered: 0, torn: 0 }
  const runOne = async (order: RecordingOrder): Promise<void> => {
    const replayed = await run(order)
    for (const key of replayed.keys) keys.add(`${order.recording} ${key}`)
    for (const what of ['dropped', 'reordered', 'torn'] as const) count[what] += replayed[what]
    for (const fault of replayed.faults) faults.push({ ...fault, recording: order.recording })
  }
  const cuts = recordings.reduce((sum, { journal }) => sum + cutsOf(journal).length, 0)
  for (let first = 0, size = FIRST_ROUND, isLast = false; keys.size < target && !isLast; ) {
    const before = keys.size
    await Promise.all(recordings.flatMap((each) => ordersOf(each, first, first + size)).map(runOne))
    const brought = keys.size - before
    isLast = brought < NEW_LEAST * cuts * size
    first += size
    size = Math.max(4, Math.min(2 * size, Math.ceil(((target - keys.size) * size) / Math.max(1, brought))))
  }
  return { scenario, ...countsOf(recordings), states: keys.size, ...count, faults }
}

function ordersOf({ name, journal }: Recording, first: number, end: number): RecordingOrder[] {
  const cuts = cutsOf(journal)
  return Array.from({ length: Math.ceil(cuts.length / CUTS_OF_ORDER) }, (_, index) => ({
    recording: name,
    cuts: cuts.slice(index * CUTS_OF_ORDER, (index + 1) * CUTS_OF_ORDER),
    first,
    end,
  }))
}

function countsOf(recordings: readonly Recording[]): Pick<Sum, 'steps' | 'told' | 'syncs'> {
  const steps = recordings.flatMap(({ journal }) => journal.steps.slice(journal.begin))
  const told = steps.reduce((sum, step) => sum + (step.kind === 'told' ? step.words.length : 0), 0)
  return { steps: steps.length, told, syncs: steps.filter(({ kind }) => kind === 'synced').length }
}

/** What a replay must have met, lest it holds because nothing was tried. */
export function lacksOf({ told, syncs, states, dropped, reordered }: Sum): string[] {
  const wanted = { told, syncs, states, dropped, reordered }
  return Object.entries(wanted).flatMap(([what, number]) => (number > 0 ? [] : [`no ${what}: nothing was tried`]))
}
