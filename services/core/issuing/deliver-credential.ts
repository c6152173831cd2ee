import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { CommandContext } from '#console/context.ts'
import { UsageError } from '#console/failure.ts'
import { commandEnv } from '#console/state-folder.ts'
import { readAuthority } from '#fleet/certificate-parser.ts'
import { type Credential, credentialPath, workerName } from '#fleet/credential.ts'
import { S2Error } from '#fleet/errors.ts'
import { ConfigError, readSettings } from '#runtime/read-settings.ts'
import { readNamedFile } from '#runtime/read-user-file.ts'
import { publish } from '#spool/atomic-files.ts'
import { GitPublisher } from './git-publisher.ts'
import { type BridgeAccess, type PublishedCredential, readPublished } from './worker-credential-file.ts'

/** The way by which one worker gets its credential. */
export interface CredentialDelivery extends AsyncDisposable {
  /** What lies there now; null where nothing does. */
  readonly before: PublishedCredential | null
  /** Puts the file there and answers where that is. */
  put(file: string, message: string): Promise<string>
}

export interface DeliveryOptions {
  readonly remote?: string
  readonly branch?: string
  /** A folder to write to instead. */
  readonly out?: string
}

/**
 * Opens the way for a worker's credential: a folder, or the remote that was named, is set, or was made in this state folder
 * by `s2 up`. Null when there is none. What lies there is read at once, so that a remote that is out of reach is told
 * before any token is made.
 */
export async function openDelivery(
  context: CommandContext,
  agent: string,
  options: DeliveryOptions,
): Promise<CredentialDelivery | null> {
  const { out } = options
  if (out !== undefined) return folderDelivery(join(out, `${agent.replaceAll('/', '-')}-credentials.json`))
  const settings = readSettings(commandEnv(context), ['S2_STATE', 'S2_GIT_REMOTE', 'S2_GIT_BRANCH', 'S2_GIT_TIMEOUT'])
  const local = localRemote(settings.S2_STATE)
  const remote = options.remote ?? settings.S2_GIT_REMOTE ?? (existsSync(local) ? pathToFileURL(local).href : undefined)
  if (remote === undefined) return null
  const number = numberOf(agent)
  if (number === null) {
    throw new UsageError(`${agent} has no number, so no file in a remote`, 'use --out <folder>, or name it by --number')
  }
  const publisher = await GitPublisher.open(
    { remote, branch: options.branch ?? settings.S2_GIT_BRANCH, timeoutMs: settings.S2_GIT_TIMEOUT },
    { clock: context.clock, chance: context.chance, env: context.env },
  )
  try {
    return remoteDelivery(publisher, remote, number, await readPublished(publisher, number))
  } catch (error) {
    await publisher[Symbol.asyncDispose]()
    throw error
  }
}

function folderDelivery(path: string): CredentialDelivery {
  return {
    before: null,
    put: async (file) => {
      await publish(path, file)
      return path
    },
    [Symbol.asyncDispose]: async () => undefined,
  }
}

function remoteDelivery(
  publisher: GitPublisher,
  remote: string,
  number: number,
  before: PublishedCredential | null,
): CredentialDelivery {
  const path = credentialPath(number)
  return {
    before,
    put: async (file, message) => {
      await publisher.publish(new Map([[path, file]]), message)
      return `${remote} ${path}`
    },
    [Symbol.asyncDispose]: () => publisher[Symbol.asyncDispose](),
  }
}

function numberOf(agent: string): number | null {
  const number = Number(/-(\d{1,7})$/.exec(agent)?.[1] ?? Number.NaN)
  return Number.isInteger(number) && workerName(number) === agent ? number : null
}

/**
 * How the holder of a new credential reaches the bridge: by the address and trusting the authority that are set, else those of
 * the credential `before` it. An address is also known to the other credentials of this host.
 */
export async function bridgeAccessFor(
  context: CommandContext,
  credentials: readonly Credential[],
  before: { readonly bridgeUrl: string | null; readonly bridgeCa?: string | null } | null = null,
): Promise<BridgeAccess> {
  const env = commandEnv(context)
  const settings = readSettings(env, ['S2_BRIDGE_URL', 'S2_TLS_CA'])
  const known = before?.bridgeUrl ?? credentials[0]?.bridgeUrl
  const bridgeUrl = env.S2_BRIDGE_URL === undefined ? (known ?? settings.S2_BRIDGE_URL) : settings.S2_BRIDGE_URL
  const bridgeCa = settings.S2_TLS_CA === undefined ? before?.bridgeCa : await authorityIn(settings.S2_TLS_CA)
  return { bridgeUrl, ...(bridgeCa == null ? {} : { bridgeCa }) }
}

/** The authority in the file that S2_TLS_CA names. Throws ConfigError. */
async function authorityIn(path: string): Promise<string> {
  const pem = await readNamedFile(path).catch((error: NodeJS.ErrnoException) => {
    throw new ConfigError([`S2_TLS_CA=${path} cannot be read (${error.code})`])
  })
  try {
    return readAuthority(pem)
  } catch (error) {
    throw new ConfigError([`S2_TLS_CA=${path} ${(error as Error).message}`])
  }
}

/** The refusal when new tokens were made and could not be handed out. */
export function notDelivered(error: unknown, next: string): S2Error {
  const why = error instanceof Error ? error.message : String(error)
  const code = error instanceof S2Error ? error.code : 'internal'
  return new S2Error(code, `the new credential could not be handed out: ${why}`, { next, cause: error })
}

/** The repository that a fleet on one machine makes for itself in its state folder. */
export function localRemote(state: string): string {
  return join(state, 'remote.git')
}
