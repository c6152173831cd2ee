import { randomUUID } from 'node:crypto'
import type { ClientSession } from '#agents/client-session.ts'
import { readClientSessions } from '#agents/client-sessions-folder.ts'
import { redact } from '#fleet/redact.ts'
import type { SessionId } from '#fleet/session-id.ts'
import { watchFolder } from '#runtime/folder-watch.ts'
import { runLean } from '#runtime/memory-tuning.ts'
import type { Life, Program } from '#runtime/run.ts'
import { ensureFolder } from '#spool/atomic-files.ts'
import { hintCredentials } from '#spool/credential-hint.ts'
import { credentialsFolder, noteRenewal, readCredentials } from '#spool/credentials.ts'
import { type HeldTask, HeldTasks } from '#spool/held-tasks.ts'
import { Inbox } from '#spool/inbox.ts'
import { InboxLeases } from '#spool/inbox-leases.ts'
import { Outbox } from '#spool/outbox.ts'
import { publishPlace } from '#spool/place.ts'
import { isReservationListWanted, keepReservationList } from '#spool/reservation-list.ts'
import { openRemoteStore } from '#store/remote/remote.ts'
import { answerOverHttp } from './answer-over-http.ts'
import { type Config, readConfig } from './config.ts'
import { followClients } from './follow-clients.ts'
import type { HeldByHand } from './held-task-renewal.ts'
import { SessionManager, type SessionManagerConfig, type SessionManagerParts, type Spool } from './session-manager.ts'

/** However short the beat, a bridge that is silent only for a moment keeps its sockets: else all hosts would connect again at once. */
const PROBE_LEAST_MS = 2_000

/** Tells the fleet that this host lives, and moves messages between its folders and the bridge. */
export const program: Program<Config> = {
  name: 'keepalive',
  about: 'Keeps the sessions of this host alive: it beats for them, brings their mail in, and carries what they send.',
  redact,
  readConfig,
  start,
}

async function start(config: Config, life: Life): Promise<void> {
  runLean()
  // Only a folder that exists can be watched from the start; where one cannot be made, the first look into it says why.
  const folders = [...Object.values(foldersOf(config.state)).flat(), new HeldTasks(config.state).folder]
  for (const folder of folders) await ensureFolder(folder).catch(() => undefined)
  const place = await publishPlace(config.state).catch((error: unknown) => {
    life.log.warn('place unknown: a copy of this host could not be told from it', { error })
    return undefined
  })
  const here: { sessions: () => readonly SessionId[] } = { sessions: () => [] }
  const clients = await followClients(config, life, () => here.sessions())
  answerOverHttp(config.state, clients, life)
  const running = runSessions(config, { ...partsOf(config, place, life), clients }, life.draining, here)
  running.catch(life.fail)
  life.stack.defer(() => running)
}

/** Runs the sessions until `draining` aborts; settles when what waited has been sent, or the time for it is over. */
async function runSessions(
  config: SessionManagerConfig,
  parts: SessionManagerParts,
  draining: AbortSignal,
  here: { sessions: () => readonly SessionId[] },
): Promise<void> {
  await using sessions = new SessionManager(config, parts)
  here.sessions = () => sessions.sessionsHere
  if (!draining.aborted) {
    await new Promise<void>((resolve) => draining.addEventListener('abort', () => resolve(), { once: true }))
  }
  await sessions.drain()
}

function partsOf(
  { state, beatMs, leaseMs, messageLeaseMs, allowsPlain }: Config,
  place: string | undefined,
  life: Life,
): SessionManagerParts {
  const { clock, chance, log, health, round } = life
  const onFault = (fault: string): void => log.warn('spool file set aside', { fault })
  const inbox = new Inbox(state, onFault)
  const outbox = new Outbox(state, onFault)
  const folders = foldersOf(state)
  return {
    open: (url, keyring) =>
      openRemoteStore(
        url,
        { ...keyring, allowsPlain },
        { clock, chance, log },
        { probeMs: Math.max(beatMs, PROBE_LEAST_MS) },
      ),
    inbox,
    leases: new InboxLeases(state, { inbox, leaseMs: messageLeaseMs, wall: () => clock.wall(), onFault }),
    outbox,
    held: heldByHand(state, leaseMs, life),
    reservations: {
      isWanted: () => isReservationListWanted(state),
      keep: (list) => keepReservationList(state, list),
    },
    credentials: {
      read: () => readCredentials(state),
      noteRenewal: (session, expiresAt) => noteRenewal(state, session, expiresAt),
    },
    incarnation: randomUUID(),
    place,
    clock,
    chance,
    log,
    health,
    hintCredentials: () => hintCredentials(state),
    round,
    hear: (spool, heard) => {
      const watches = new DisposableStack()
      for (const folder of folders[spool]) {
        watches.use(watchFolder(folder, { onEvents: heard, onDoubt: heard }, { clock, log }))
      }
      return watches
    },
  }
}

function heldByHand(state: string, leaseMs: number, { clock, log }: Life): HeldByHand {
  const files = new HeldTasks(state)
  return {
    files,
    leaseMs,
    signsOf: (held) => clientSigns(state, held),
    outcomeOf: (ended) => new Outbox(state).outcome(ended),
    hasLeft: async (held) => {
      const client = await clientOf(state, held)
      return client?.sharesProcess === true && client.activity.state === 'gone'
    },
    hear: (heard) => watchFolder(files.folder, { onEvents: heard, onDoubt: heard }, { clock, log }),
  }
}

/** The folders that other programs put files into. */
function foldersOf(state: string): Record<Spool, readonly string[]> {
  const inbox = new Inbox(state)
  return {
    inbox: [inbox.folder('cur'), inbox.folder('done')],
    outbox: [new Outbox(state).folder('new')],
    credentials: [credentialsFolder(state)],
  }
}

/** The signs of work that hooks have told of, of the client that holds a task. */
async function clientSigns(state: string, held: HeldTask): Promise<number> {
  return (await clientOf(state, held))?.signs ?? 0
}

/** The session of a client that took a task; undefined where hooks told of none. */
async function clientOf(state: string, { by }: HeldTask): Promise<ClientSession | undefined> {
  if (by === null) return undefined
  return (await readClientSessions(state)).find(({ client, id }) => client === by.client && id === by.id)
}
