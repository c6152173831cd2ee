import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { authorityAt, type Credential, pinAt } from '#fleet/credential.ts'
import { S2Error } from '#fleet/errors.ts'
import { redact } from '#fleet/redact.ts'
import type { Log } from '#runtime/log.ts'
import { isSocketAnswered } from '#runtime/program-presence.ts'
import { readSettings } from '#runtime/read-settings.ts'
import { credentialsFolder, readCredentials } from '#spool/credentials.ts'
import { servedStore } from '#spool/served-store.ts'
import { databaseIn, openStore } from '#store/open-store.ts'
import type { Store, StoreParts } from '#store/store.ts'
import type { CommandContext } from './context.ts'
import { commandEnv, fleetAbove } from './state-folder.ts'

/** The fleet's store, and the rights with which it was reached. */
export interface ReachedFleet extends AsyncDisposable {
  readonly store: Store
  /** `administration` may see and do everything, a `session` only what is its own. */
  readonly as: 'administration' | 'session'
  /** Whether no bridge serves the database, which is then read from the disk. */
  readonly unserved: boolean
  /** The credentials of this host, in either case. */
  readonly credentials: readonly Credential[]
}

/**
 * Opens the fleet's store: by S2_STORE where it names another than this host's bridge serves; on an orchestrator host by the
 * bridge's administration socket, or the database when no bridge runs; on a worker host as the sessions whose credentials it
 * has. Throws `not_found` and `unauthenticated` where there is no way: a database that is not there is not made.
 */
export async function reachFleet(context: CommandContext): Promise<ReachedFleet> {
  const settings = readSettings(commandEnv(context), ['S2_STATE', 'S2_STORE'])
  const state = settings.S2_STATE
  const parts = storeParts(context)
  const { credentials: found, faults } = await readCredentials(state)
  // The newest speaks: an older one may be of a conversation that was revoked before this host was invited again.
  const credentials = found.toSorted((one, other) => other.createdAt - one.createdAt)
  const named = settings.S2_STORE === servedStore(state) ? undefined : settings.S2_STORE
  const url = named ?? (await findAdministration(state))
  if (url !== null && !/^https?:/.test(url)) {
    demandDatabase(url)
    const store = await openStore(url, parts)
    const unserved = named === undefined && databaseIn(url) !== null
    return {
      store,
      as: 'administration',
      unserved,
      credentials,
      [Symbol.asyncDispose]: () => store[Symbol.asyncDispose](),
    }
  }
  const [first] = credentials
  if (first === undefined) throw url === null ? nothingFound(state, faults, context) : noCredential(url, state, faults)
  const store = await openSessions(url ?? first.bridgeUrl, () => credentials, context)
  return {
    store,
    as: 'session',
    unserved: false,
    credentials,
    [Symbol.asyncDispose]: () => store[Symbol.asyncDispose](),
  }
}

/** Opens a bridge as the sessions of these credentials, which are read at every call because they may change. */
export async function openSessions(
  bridgeUrl: string,
  credentials: () => readonly Credential[],
  context: CommandContext,
): Promise<Store> {
  const { S2_ALLOW_PLAIN_HTTP: allowsPlain } = readSettings(commandEnv(context), ['S2_ALLOW_PLAIN_HTTP'])
  return await openStore(bridgeUrl, storeParts(context), {
    allowsPlain,
    token: (session) => credentials().find((each) => each.session === session)?.token,
    sessions: () => credentials().map(({ session }) => session),
    authority: () => authorityAt(bridgeUrl, credentials()),
    pin: () => pinAt(bridgeUrl, credentials()),
  })
}

/** The same for commands of the orchestrator's host. Throws `forbidden` elsewhere. */
export async function reachAdministration(context: CommandContext): Promise<ReachedFleet> {
  const reached = await reachFleet(context)
  if (reached.as === 'administration') return reached
  await reached[Symbol.asyncDispose]()
  throw new S2Error('forbidden', 'this host holds a session of the fleet, not its administration', {
    next: 'run the command on the orchestrator’s host, or set S2_STORE to its store',
  })
}

async function findAdministration(state: string): Promise<string | null> {
  const socket = join(state, 'run', 'admin.sock')
  if (await isSocketAnswered(socket)) return `unix:${socket}`
  const url = servedStore(state)
  return existsSync(databaseIn(url) ?? '') ? url : null
}

/** A name that was mistyped must not make a database, and answer for it. */
function demandDatabase(url: string): void {
  const path = databaseIn(url)
  if (path === null || existsSync(path)) return
  throw new S2Error('not_found', `there is no database ${path}`, {
    next: 'look at S2_STORE; the bridge makes the database that it names, when it starts',
  })
}

export function storeParts(context: CommandContext): StoreParts {
  return { clock: context.clock, chance: context.chance, log: terseLog(context), malformedRows: 'sum' }
}

/** A log for a person: warnings and errors, on standard error. */
export function terseLog(context: CommandContext): Log {
  const say = (event: string, fields?: Readonly<Record<string, unknown>>): void => {
    const { error, ...rest } = fields ?? {}
    const why = error instanceof Error ? { ...rest, error: error.message } : rest
    const details = Object.keys(why).length === 0 ? '' : ` ${JSON.stringify(why)}`
    context.tell(`s2: ${redact(event + details)}\n`)
  }
  return { error: say, warn: say, info: () => undefined, debug: () => undefined, end: async () => undefined }
}

function noCredential(url: string, state: string, faults: readonly string[]): S2Error {
  const found = faults.length === 0 ? '' : ` (${faults.join('; ')})`
  const folder = credentialsFolder(state)
  return new S2Error('unauthenticated', `${url} requires a credential, and ${folder} holds none${found}`, {
    next: 'wait for s2-cred-sync to bring it, set S2_STATE to the folder that has it, or unset S2_STORE',
  })
}

function nothingFound(state: string, faults: readonly string[], context: CommandContext): S2Error {
  const folder = credentialsFolder(state)
  if (faults.length > 0) {
    return new S2Error('unauthenticated', `no credential in ${folder} can be used: ${faults.join('; ')}`, {
      next: 'mend the file, or remove it: s2-cred-sync brings it anew',
    })
  }
  return new S2Error('not_found', `no fleet can be reached from ${state}: no bridge, database or credential there`, {
    next:
      fleetAbove(context) ??
      'call it in the folder where `s2 up FLEET.json` runs, or bring a fleet up so; where S2 is installed for the whole host, call it with sudo; on a worker host wait for s2-cred-sync to fill ' +
        `${folder}; or set S2_STATE or S2_STORE`,
  })
}
