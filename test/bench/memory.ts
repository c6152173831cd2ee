import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { OpenedConversation } from '#fleet/conversation.ts'
import { credentialPath, workerName } from '#fleet/credential.ts'
import { sessionId } from '#fleet/session-id.ts'
import { identityFile, makeIdentity, writeIdentity } from '#identity/identity-file.ts'
import { entryFor, formatManifest, MANIFEST_PATH } from '#identity/manifest.ts'
import { sealCredential } from '#identity/sealed-credential.ts'
import { type BenchBridge, isReady, startBridge } from './bridge.ts'
import { median } from './figures.ts'
import { makeRemote } from './remote.ts'
import type { Bench, Row, Wish } from './row.ts'
import { type Actor, openStage, programArgv, type Stage, until } from './stage.ts'
import { healthSocket, startWorkerHost } from './worker.ts'

/** An engine gives back what it took for its last work when it has had little to do for some ten seconds, twice. */
const IDLE_MS = 30_000

/** What idle services weigh, and how soon the command line answers. */
export const memory: Bench = async (wish) => [...(await weigh(wish)), await start(wish)]

/**
 * Two fours, so that every service is weighed while four of ours share what they can. They run a copy of Node, or they
 * would share it with every other Node of this machine as well and seem lighter than they are.
 */
async function weigh(wish: Wish): Promise<Row[]> {
  await using stage = await openStage({ node: 'copy' })
  const bare = Array.from({ length: 4 }, () => stage.start('other', [stage.node, '-e', 'setInterval(() => {}, 1e9)']))
  const bareMb = await pssAfterIdling({ bare: bare[0] as Actor }, wish)
  for (const actor of bare) await actor.end()

  const bridge = await startBridge(stage, 'other')
  const [conversation] = await bridge.openConversations(1)
  if (conversation === undefined) throw new Error('no conversation')
  const worker = await startWorkerHost(stage, bridge, conversation)
  const inbox = await startService(stage, 'fs-watcher', worker.state, { S2_SOURCE: 'inbox', S2_WAKE: 'true' })
  const credSync = await startCredSync(stage, bridge, conversation)
  const { keepalive } = worker
  const atWorker = await pssAfterIdling({ keepalive, 'fs-watcher (inbox)': inbox, 'cred-sync': credSync }, wish)
  await Promise.all([inbox.end(), credSync.end()])

  const database = await startService(stage, 'fs-watcher', bridge.state, { S2_SOURCE: 'database', S2_WAKE: 'true' })
  const watchdog = await startService(stage, 'watchdog', bridge.state, {})
  const there = { bridge: bridge.actor, watchdog, 'fs-watcher (database)': database }
  const atOrchestrator = await pssAfterIdling(there, wish)
  return Object.entries({ ...atOrchestrator, ...atWorker }).map(([name, pssMb]) => ({
    what: `memory of ${name}, idle, four of ours running`,
    reach: { pssMb: 32 },
    ours: { pssMb },
    beside: { 'node -e, four running': { pssMb: bareMb.bare ?? Number.NaN } },
  }))
}

async function pssAfterIdling<N extends string>(
  actors: Readonly<Record<N, Actor>>,
  { say, isQuick }: Wish,
): Promise<Record<N, number>> {
  say(`letting ${Object.keys(actors).join(', ')} idle`)
  await sleep(isQuick ? 3_000 : IDLE_MS)
  const weights = Object.entries<Actor>(actors).map(([name, { pid }]) => [name, pssMb(pid)])
  return Object.fromEntries(weights)
}

/** Its own memory and its share of what it has in common with others, proc(5). */
function pssMb(pid: number): number {
  const rollup = readFileSync(`/proc/${pid}/smaps_rollup`, 'latin1')
  return Number(/^Pss:\s+(\d+) kB/m.exec(rollup)?.[1]) / 1024
}

async function startService(
  stage: Stage,
  program: string,
  state: string,
  settings: Readonly<Record<string, string>>,
): Promise<Actor> {
  const actor = stage.start('other', stage.program(program), { S2_STATE: state, S2_LOG_LEVEL: 'warn', ...settings })
  await until(`${program} is ready`, () => isReady(healthSocket(state, program)), actor)
  return actor
}

async function startCredSync(stage: Stage, { url }: BenchBridge, { id, tokens }: OpenedConversation): Promise<Actor> {
  const state = await stage.room('cred-sync')
  const room = await stage.room('remote')
  const orchestrator = await makeIdentity()
  const agent = workerName(1)
  const membership = { agent, orchestrator, bridgeUrl: url, remote: join(room, 'remote.git'), branch: 'main' }
  const identity = { ...(await makeIdentity()), membership }
  await writeIdentity(identityFile(state), identity)
  const [createdAt, expiresAt] = [Date.now(), Date.now() + 3_600_000]
  const session = sessionId(id, 'b')
  const credential = { session, token: tokens.b, agent, role: 'worker', bridgeUrl: url, createdAt, expiresAt }
  const file = await sealCredential(credential, identity.recipient, orchestrator)
  const path = credentialPath(agent)
  const files = [entryFor(path, identity.key, createdAt, file)]
  await makeRemote(room, { [path]: file, [MANIFEST_PATH]: formatManifest({ serial: createdAt, files }, orchestrator) })
  return await startService(stage, 'cred-sync', state, {})
}

/** From the start of the process to its end, ours and bare Node in turn. */
async function start({ isQuick, say }: Wish): Promise<Row> {
  say('starting s2 --version and node -e 0 in turn')
  const times = { ours: [] as number[], bare: [] as number[] }
  for (let round = -1; round < (isQuick ? 5 : 20); round += 1) {
    const [ours, bare] = [runMs(programArgv(process.execPath, 's2', '--version')), runMs([process.execPath, '-e', '0'])]
    if (round < 0) continue // the first fills the caches of the disk
    times.ours.push(ours)
    times.bare.push(bare)
  }
  const ours = { startMs: median(times.ours) }
  const beside = { 'node -e 0': { startMs: median(times.bare) } }
  return { what: 's2 --version', reach: { startMs: 60 }, ours, beside, note: 'median of the whole process' }
}

function runMs([file, ...args]: [string, ...string[]]): number {
  const begin = performance.now()
  execFileSync(file, args, { stdio: 'ignore' })
  return performance.now() - begin
}
