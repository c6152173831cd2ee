import { randomUUID } from 'node:crypto'
import { redact } from '#fleet/redact.ts'
import { watchFolder } from '#runtime/folder-watch.ts'
import { runLean } from '#runtime/memory-tuning.ts'
import type { Life, Program } from '#runtime/run.ts'
import { ensureFolder } from '#spool/atomic-files.ts'
import { hintCredentials } from '#spool/credential-hint.ts'
import { credentialsFolder, noteRenewal, readCredentials } from '#spool/credentials.ts'
import { Inbox } from '#spool/inbox.ts'
import { Outbox } from '#spool/outbox.ts'
import { openRemoteStore } from '#store/remote/remote.ts'
import { type Config, readConfig } from './config.ts'
import { SessionManager, type SessionManagerConfig, type SessionManagerParts, type Spool } from './session-manager.ts'

/** However fast the beat, a bridge that is silent for a moment only is left its sockets: all hosts would come anew at once. */
const PROBE_LEAST_MS = 2_000

/** Tells the fleet that this host lives, and carries messages between its folders and the bridge. */
export const program: Program<Config> = {
  name: 'keepalive',
  about: 'Keeps the sessions of this host alive: it beats for them, brings their mail in, and carries what they send.',
  redact,
  readConfig,
  start,
}

async function start(config: Config, life: Life): Promise<void> {
  runLean()
  // What can be watched from the start is heard from the start; where that fails, carrying says why.
  for (const folder of Object.values(foldersOf(config.state)).flat()) await ensureFolder(folder).catch(() => undefined)
  const carrying = carry(config, partsOf(config, life), life.draining)
  carrying.catch(life.fail)
  life.stack.defer(() => carrying)
}

/** Carries until `draining` aborts, and settles when what was in hand has been carried, or its time is over. */
async function carry(config: SessionManagerConfig, parts: SessionManagerParts, draining: AbortSignal): Promise<void> {
  await using host = new SessionManager(config, parts)
  if (!draining.aborted) {
    await new Promise<void>((resolve) => draining.addEventListener('abort', () => resolve(), { once: true }))
  }
  await host.drain()
}

function partsOf({ state, beatMs }: Config, { clock, chance, log, health, round }: Life): SessionManagerParts {
  const onFault = (fault: string): void => log.warn('set aside', { fault })
  const inbox = new Inbox(state, onFault)
  const outbox = new Outbox(state, onFault)
  const folders = foldersOf(state)
  return {
    open: (url, keyring) =>
      openRemoteStore(url, keyring, { clock, chance, log }, { probeMs: Math.max(beatMs, PROBE_LEAST_MS) }),
    inbox,
    outbox,
    credentials: {
      read: () => readCredentials(state),
      noteRenewal: (session, expiresAt) => noteRenewal(state, session, expiresAt),
    },
    incarnation: randomUUID(),
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

/** Where others leave something for us. */
function foldersOf(state: string): Record<Spool, readonly string[]> {
  const inbox = new Inbox(state)
  return {
    inbox: [inbox.folder('cur'), inbox.folder('done')],
    outbox: [new Outbox(state).folder('new')],
    credentials: [credentialsFolder(state)],
  }
}
