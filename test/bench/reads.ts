import { existsSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { Inbox } from '#spool/inbox.ts'
import type { ClientHome } from '../agents/client.ts'
import { ClientFleet } from '../agents/fleet.ts'
import { MadeUpModel } from '../agents/model.ts'
import { placedClaude, placedCodex } from '../agents/place.ts'
import { until } from '../until.ts'
import { quantile } from './figures.ts'
import { hasCommand } from './machine.ts'
import { type Bench, type Row, ratios, type Skipped, type Wish } from './row.ts'

/**
 * From a message of the orchestrator until the real client of an idle worker has asked its model with the wake in hand, and until
 * the watcher has proof of that; beside a line that is written to Claude Code's socket by hand.
 */
export const reads: Bench = async (wish) => {
  const clients = clientsFolder()
  if (clients === null) return [{ what: WHAT, skipped: NO_CLIENTS }]
  if (!hasCommand('tmux')) return [{ what: WHAT, skipped: 'tmux is missing, in which clients run' }]
  process.env.TEST_CLIENTS = clients // where the homes of clients look for their programs
  return await measure(wish)
}

const WHAT = 'message sent → wake read by the real client'
const NO_CLIENTS =
  'Claude Code and Codex are not there; make test-agents installs them, and TEST_CLIENTS names a node_modules that has them'
const ROOT = fileURLToPath(new URL('../..', import.meta.url))

function clientsFolder(): string | null {
  const folders = [process.env.TEST_CLIENTS, join(ROOT, '.toolchain', 'agents', 'node_modules')]
  const hasBoth = (folder: string): boolean =>
    ['claude', 'codex'].every((name) => existsSync(join(folder, '.bin', name)))
  return folders.find((folder) => folder !== undefined && hasBoth(folder)) ?? null
}

/** An agent is sent twelve wakes an hour. */
const WAKES_MAX = 12
/** The first turn of a client loads what the others have. */
const WARM_UP = 1
const READ_MS = 60_000

async function measure({ isQuick, say }: Wish): Promise<(Row | Skipped)[]> {
  await using stack = new AsyncDisposableStack()
  const rungs = ['inbox_socket', 'app_server']
  const places = rungs.map((S2_WAKE_BY) => ({ settings: { S2_WAKE_BY } }))
  say('raising a fleet with two workers')
  const fleet = stack.use(await ClientFleet.raise(places))
  const model = stack.use(await MadeUpModel.start())
  const claude = stack.use(await placedClaude(fleet, 1, model))
  await claude.sit()
  const codex = stack.use(await placedCodex(fleet, 2, model))
  const terminal = await codex.sit()
  await terminal.type('begin')
  await terminal.shows(/done/)
  const times = { claude: noTimes(), codex: noTimes(), bare: [] as number[] }
  const rounds = isQuick ? 4 : WAKES_MAX
  say(`${rounds} messages to each`)
  for (let round = 0; round < rounds; round += 1) {
    const at = [await wake(fleet, model, 1, claude.sentKey), await wake(fleet, model, 2, codex.key)] as const
    const bare = await writeByHand(fleet, model, claude)
    if (round < WARM_UP) continue
    for (const [index, name] of (['claude', 'codex'] as const).entries()) {
      times[name].askedMs.push(at[index]?.askedMs ?? Number.NaN)
      times[name].provenMs.push(at[index]?.provenMs ?? Number.NaN)
    }
    times.bare.push(bare)
  }
  const beside = { [BY_HAND]: { askedP50Ms: quantile(times.bare, 0.5), askedMostMs: quantile(times.bare, 1) } }
  const ours = figuresOf(times.claude)
  const row = { reach: {}, note: NOTE }
  return [
    { ...row, what: `${WHAT}, Claude Code by its socket`, ours, beside, ratio: ratios('askedP50Ms', ours, beside) },
    { ...row, what: `${WHAT}, Codex by its daemon`, ours: figuresOf(times.codex) },
  ]
}

const BY_HAND = 'a line to its socket by hand'
const NOTE = `a fleet of real programs on this machine; asked: the model, which answers at once, was asked with the wake; proven: the watcher has noted the wake as read, which it looks for every 250 ms; ${BY_HAND}: the same client, without a message, a watcher and a proof`

interface Times {
  readonly askedMs: number[]
  readonly provenMs: number[]
}

function noTimes(): Times {
  return { askedMs: [], provenMs: [] }
}

function figuresOf({ askedMs, provenMs }: Times): Row['ours'] {
  return {
    askedP50Ms: quantile(askedMs, 0.5),
    askedMostMs: quantile(askedMs, 1),
    provenP50Ms: quantile(provenMs, 0.5),
    provenMostMs: quantile(provenMs, 1),
    wakes: askedMs.length,
  }
}

/** Sends a message to an idle worker; its mail is taken once the wake was read, so that its client has nothing left to do. */
async function wake(
  fleet: ClientFleet,
  model: MadeUpModel,
  worker: number,
  key: string,
): Promise<{ askedMs: number; provenMs: number }> {
  await idle(fleet, worker)
  const proofs = (): string => JSON.stringify(fleet.wokenBy(worker))
  const [before, known] = [model.questions.length, proofs()]
  const began = performance.now()
  await fleet.tell(worker, 'mail')
  const isAsked = (): boolean => model.questions.slice(before).some((question) => question.key === key)
  const [askedMs, provenMs] = await Promise.all([
    msUntil('the model is asked', isAsked, began),
    msUntil('the wake is proven', () => proofs() !== known, began),
  ])
  const inbox = new Inbox(fleet.stateOf(worker))
  await inbox.ack((await inbox.take(10)).map(({ id }) => id))
  return { askedMs, provenMs }
}

async function writeByHand(
  fleet: ClientFleet,
  model: MadeUpModel,
  home: ClientHome & { sentKey: string },
): Promise<number> {
  await idle(fleet, 1)
  const path = fleet.clientSessions(1).findLast(({ inboxSocket }) => inboxSocket !== null)?.inboxSocket ?? ''
  const before = model.questions.length
  const began = performance.now()
  // The client drops a message that is the last one once more.
  const message = { type: 'user', message: { role: 'user', content: `go on ${before}` } }
  connect({ path })
    .end(`${JSON.stringify(message)}\n`)
    .resume()
  const isAsked = (): boolean => model.questions.slice(before).some(({ key }) => key === home.sentKey)
  return await msUntil('the model is asked by hand', isAsked, began)
}

/** Waits until the client of a worker has idled for a moment: its turn has ended, and its hooks have. */
async function idle(fleet: ClientFleet, worker: number): Promise<void> {
  const isIdle = (): boolean => fleet.clientSessions(worker).some(({ activity }) => activity.state === 'idle')
  await until(`worker ${worker} idles`, isIdle, READ_MS)
  await sleep(1_000)
  await until(`worker ${worker} idles still`, isIdle, READ_MS)
}

async function msUntil(what: string, isSo: () => boolean, began: number): Promise<number> {
  while (!isSo()) {
    if (performance.now() - began > READ_MS) throw new Error(`${what}: not within ${READ_MS} ms`)
    await sleep(2)
  }
  return performance.now() - began
}
