import { createHash } from 'node:crypto'
import type { Conversation } from '#fleet/conversation.ts'
import { type BridgeAccess, type Credential, credentialPath, isSameAccess } from '#fleet/credential.ts'
import { S2Error } from '#fleet/errors.ts'
import { conversationOf, type SessionId, sessionId } from '#fleet/session-id.ts'
import { JOIN_REQUEST_MAX, joinRequestId, serialAfter, type Worker } from '#fleet/worker.ts'
import type { BranchSnapshot, GitPublisher } from '#git/git-publisher.ts'
import type { HostIdentity } from '#identity/identity-file.ts'
import { openJoinRequest } from '#identity/joining.ts'
import { entryFor, formatManifest, MANIFEST_PATH, type Manifest, readManifest } from '#identity/manifest.ts'
import type { sealCredential } from '#identity/sealed-credential.ts'
import type { Clock } from '#runtime/clock.ts'
import type { Store } from '#store/store.ts'
import { hintWorkers } from './hint-workers.ts'
import type { IssuerFiles } from './issuer-files.ts'
import { LeftBranch } from './left-branch.ts'
import { OwnEnds } from './own-ends.ts'

export interface IssuerConfig {
  /** What the orchestrator's agent is called. */
  readonly orchestrator: string
  /** How workers reach the bridge, as it is now: a renewed certificate may have another key. */
  access(): Promise<BridgeAccess>
  readonly lifetimeMs: number
  /** How long the tokens before stay in force after a rotation. */
  readonly overlapMs: number
}

export interface IssuerParts {
  readonly store: Store
  /** Null: there is no git remote, and hosts fetch their credentials from the bridge alone. */
  readonly publisher: GitPublisher | null
  readonly identity: HostIdentity
  readonly files: IssuerFiles
  readonly seal: typeof sealCredential
  readonly clock: Clock
}

/** What one round of the issuer did. */
export interface IssuerRound {
  readonly issued: readonly string[]
  readonly admitted: readonly string[]
  /** Requests to join that were refused, and why. */
  readonly refused: readonly string[]
}

/** A published credential of a worker. */
interface IssuedFile {
  readonly worker: JoinedWorker
  readonly path: string
  readonly content: string
}

/**
 * Keeps the fleet's credentials as they shall be: it compares what is wanted (the registry of workers) with what is there, and
 * does what is missing. Whatever was away, lost or changed meanwhile is mended by the next round; no step depends on another
 * having been seen.
 */
export class Issuer {
  readonly #config: IssuerConfig
  readonly #parts: IssuerParts
  readonly #ownEnds: OwnEnds
  /** The sealed file of each worker, by its agent, as it was made or found last. */
  readonly #files = new Map<string, { readonly serial: number; readonly content: string }>()
  /** Whether a rotation of all was asked for, and the credentials, by agent and serial, that are still to be rotated. */
  #isRotationAsked = false
  #toRotate: ReadonlyMap<string, number> = new Map()
  /** What the registry said in the last round, and when the branch was brought in line with it. */
  #seen = ''
  #published = ''
  /** The serial of the latest list of credentials that was made or found. */
  #listed = 0
  readonly #left = new LeftBranch()

  constructor(config: IssuerConfig, parts: IssuerParts) {
    this.#config = config
    this.#parts = parts
    this.#ownEnds = new OwnEnds(parts.files, parts.clock)
  }

  /** Whether the registry changed since the branch was brought in line with it. */
  get hasUnpublished(): boolean {
    return this.#parts.publisher !== null && this.#seen !== this.#published
  }

  /** All credentials that there are shall be made anew, in the next round. */
  rotateAll(): void {
    this.#isRotationAsked = true
  }

  /**
   * One round at the store: requests to join that reached the bridge are judged, due credentials made and kept for hosts that
   * ask the bridge. Where nothing changed it costs three questions, for requests, conversations and workers, and a look at the
   * files that say how the bridge is reached.
   */
  async round(): Promise<IssuerRound> {
    const { store } = this.#parts
    const judged = await this.#judge(await store.joinRequests())
    const access = await this.#config.access()
    const moved = await this.#accessChange(access)
    const before = await this.#look()
    const fleet = { ...((await this.#issueDue(before)) ? await this.#look() : before), access }
    // Only now: what a crash cuts short is found again.
    if (moved !== null) await this.#parts.files.writeAccess(moved)
    this.#seen = wantedRegistry(fleet.workers)
    const issued: string[] = []
    const failures: unknown[] = []
    for (const worker of fleet.workers) {
      try {
        if (await this.#issue(worker, fleet)) issued.push(worker.agent)
      } catch (error) {
        failures.push(error) // one worker's trouble is not the others'
      }
    }
    await this.#dropEnded(fleet)
    if (failures.length > 0) throw failures[0]
    return { issued, ...judged }
  }

  /**
   * One round at the git remote: requests to join that lie there are judged, and the branch made to hold the credentials of all
   * workers and the list of them. Whoever was admitted has a credential after the next round at the store. Throws `unavailable`.
   */
  async publish(): Promise<Publication> {
    const { publisher, store } = this.#parts
    if (publisher === null) return { admitted: [], refused: [], foreign: [], plain: [], wasAltered: false }
    const asked = await publisher.requests(JOIN_REQUEST_MAX)
    const requests = [...asked].map(([id, content]) => ({ id, sealed: content.trim() }))
    // A ref of another name than that of its content would settle somebody else's request.
    const judged = await this.#judge(requests.filter(({ id, sealed }) => id === joinRequestId(sealed)))
    const files = await this.#issuedFiles()
    const branch = await publisher.snapshot()
    const { manifest, removed, others } = await this.#listing(branch, files)
    const { plain, foreign } = await this.#partOthers(branch, others)
    const wanted = new Map<string, string | null>([
      ...files.map(({ path, content }) => [path, content] as const),
      ...removed.map((path) => [path, null] as const),
      [MANIFEST_PATH, manifest],
    ])
    const { commit, before } = await publisher.publish(wanted, 'Credentials')
    // Somebody may have written since the look, and what they wrote is gone now.
    const isOvertaken = before.tip !== branch.tip
    const wasAltered =
      (await this.#left.isAlteredIn(branch, wanted)) || (isOvertaken && (await this.#left.isAlteredIn(before, wanted)))
    this.#published = registryOf(files.map(({ worker }) => ({ worker, serial: worker.published })))
    this.#left.leave(commit, wanted)
    await publisher.removeRequests([...asked.keys()])
    const agents = files.map(({ worker }) => worker.agent)
    if (commit !== branch.tip) await this.#hint(await store.conversations(), agents)
    return { ...judged, foreign, plain, wasAltered }
  }

  async #joined(): Promise<JoinedWorker[]> {
    return (await this.#parts.store.workers()).filter(isJoined)
  }

  async #look(): Promise<Omit<FleetView, 'access'>> {
    const { store } = this.#parts
    const conversations = new Map((await store.conversations()).map((each) => [each.id, each]))
    const workers = await this.#joined()
    return { workers, conversations, ownEnds: await this.#ownEnds.current(wantedRegistry(workers)) }
  }

  /** New tokens for workers whose credential is half through its life, whose rotation is due, or whose conversation has ended. Answers whether there were any. */
  async #issueDue({ workers, conversations }: Omit<FleetView, 'access'>): Promise<boolean> {
    const { store, clock } = this.#parts
    const { lifetimeMs, overlapMs } = this.#config
    if (this.#isRotationAsked) this.#toRotate = new Map(workers.map(({ agent, serial }) => [agent, serial]))
    this.#isRotationAsked = false
    let hasIssued = false
    for (const { agent, serial, conversation } of workers) {
      const now = clock.wall()
      const left = (conversations.get(conversation)?.expiresAt ?? 0) - now
      const isDue = now - serial >= lifetimeMs / 2 || this.#toRotate.get(agent) === serial || left < lifetimeMs / 4
      if (!isDue) continue
      await store.issueTokens(agent, overlapMs, lifetimeMs)
      hasIssued = true
    }
    return hasIssued
  }

  async #hint(conversations: Iterable<Conversation>, agents: readonly string[]): Promise<void> {
    await hintWorkers(this.#parts.store, conversations, agents).catch(() => undefined) // the polls find it too
  }

  /** Whether a new credential of the worker was made. */
  async #issue(worker: JoinedWorker, fleet: FleetView): Promise<boolean> {
    const isDue = worker.serial !== worker.published
    if (isDue) {
      await this.#makeFile(worker, fleet)
      // At once, and not when those of all are made.
      await this.#hint(fleet.conversations.values(), [worker.agent])
    }
    await this.#keepOwnEnd(worker, fleet)
    return isDue
  }

  async #makeFile(worker: JoinedWorker, fleet: FleetView): Promise<void> {
    const { store, identity, seal } = this.#parts
    const session = sessionId(worker.conversation, 'b')
    const credential = await this.#credentialOf(session, worker.agent, worker.role, worker, fleet)
    const content = await seal(credential, worker.recipient, identity)
    this.#files.set(worker.agent, { serial: worker.serial, content })
    await store.notePublished(worker.agent, worker.serial, content)
  }

  async #credentialOf(
    session: SessionId,
    agent: string,
    role: string,
    { serial }: Worker,
    fleet: FleetView,
  ): Promise<Credential> {
    const [token] = await this.#parts.store.tokens(session)
    const conversation = fleet.conversations.get(conversationOf(session))
    if (token === undefined || conversation === undefined)
      throw new S2Error('unavailable', `the conversation of ${agent} ended while its credential was made`)
    return { session, token, agent, role, ...fleet.access, createdAt: serial, expiresAt: conversation.expiresAt }
  }

  /** The orchestrator's end of a conversation never leaves this host. That of another bridge's agent is not this fleet's to keep. */
  async #keepOwnEnd(worker: JoinedWorker, fleet: FleetView): Promise<void> {
    const { orchestrator } = this.#config
    const session = sessionId(worker.conversation, 'a')
    if (fleet.conversations.get(worker.conversation)?.agents.a === session) return
    const mine = fleet.ownEnds.get(session)
    if (mine?.createdAt === worker.serial && isSameAccess(mine, fleet.access)) return
    await this.#ownEnds.publish(await this.#credentialOf(session, orchestrator, 'orchestrator', worker, fleet))
  }

  /** Takes the orchestrator's ends out of force whose conversations this bridge has no more. */
  async #dropEnded({ ownEnds, conversations, access }: FleetView): Promise<void> {
    for (const { session, bridgeUrl } of ownEnds.values())
      if (bridgeUrl === access.bridgeUrl && !conversations.has(conversationOf(session)))
        await this.#ownEnds.remove(session)
  }

  /**
   * Where the bridge has another address or authority than in the credentials that were made, all are made anew. Answers what
   * is to be noted when they are; null: nothing.
   */
  async #accessChange(access: BridgeAccess): Promise<string | null> {
    const fingerprint = createHash('sha256').update(JSON.stringify(access)).digest('base64url')
    const before = await this.#parts.files.readAccess()
    if (before === fingerprint) return null
    if (before !== null) this.rotateAll()
    return fingerprint
  }

  async #issuedFiles(): Promise<IssuedFile[]> {
    const files: IssuedFile[] = []
    for (const worker of await this.#joined()) {
      const known = this.#files.get(worker.agent)
      const content =
        known?.serial === worker.published ? known.content : await this.#parts.store.publishedCredential(worker.key)
      if (content === null || worker.published === 0) continue
      this.#files.set(worker.agent, { serial: worker.published, content })
      files.push({ worker, path: credentialPath(worker.agent), content })
    }
    return files
  }

  /** The list of these files, the same text again where the branch has it; what is to be removed, and what else is there. */
  async #listing(branch: BranchSnapshot, files: readonly IssuedFile[]) {
    const { identity, clock } = this.#parts
    const content = await branch.read(MANIFEST_PATH)
    const present = content === null ? null : manifestOrNull(content, identity.key)
    // A list of before that somebody put back is ours and names the right files, but hosts that have seen a later one refuse it.
    const isSame =
      content !== null && present !== null && present.serial >= this.#listed && isSameListing(present, files)
    const serial = isSame ? present.serial : serialAfter(Math.max(present?.serial ?? 0, this.#listed), clock.wall())
    this.#listed = serial
    const manifest = isSame ? content.toString('utf8') : formatManifest({ serial, files: entriesOf(files) }, identity)
    const ours = new Set([...files.map(({ path }) => path), MANIFEST_PATH])
    const there = await branch.list('credentials')
    const removed = (present?.files ?? [])
      .map(({ path }) => path)
      .filter((path) => !ours.has(path) && there.includes(path))
    return { manifest, removed, others: there.filter((path) => !ours.has(path) && !removed.includes(path)) }
  }

  /** What S2 did not publish: the plain credentials of workers of the version before, and what nobody knows. */
  async #partOthers(branch: BranchSnapshot, others: readonly string[]) {
    const plain: PlainWorker[] = []
    const foreign: string[] = []
    if (others.length === 0) return { plain, foreign }
    const conversations = await this.#parts.store.conversations()
    for (const path of others) {
      const worker = conversations.find(({ agents }) => credentialPath(agents.b) === path)
      const isPlain = worker !== undefined && holdsPlainToken(await branch.read(path).catch(() => null))
      if (isPlain) plain.push({ agent: worker.agents.b, role: worker.roles.b })
      else foreign.push(path)
    }
    return { plain, foreign }
  }

  /** Admits the hosts whose requests are good; each request has its outcome afterwards. */
  async #judge(requests: readonly { readonly id: string; readonly sealed: string }[]) {
    const { store, identity } = this.#parts
    const admitted: string[] = []
    const refused: string[] = []
    for (const { id, sealed } of requests) {
      try {
        const { agent } = await this.#admit(sealed, identity)
        admitted.push(agent)
        await store.settleJoin(id, 'admitted', null)
      } catch (error) {
        if (!(error instanceof S2Error) || error.code === 'unavailable' || error.code === 'unknown_outcome') throw error
        refused.push(error.message)
        await store.settleJoin(id, 'refused', error.message)
      }
    }
    return { admitted, refused }
  }

  async #admit(sealed: string, identity: HostIdentity): Promise<Worker> {
    const { orchestrator, lifetimeMs } = this.#config
    const { agent, key, recipient, host, secretHash } = await openJoinRequest(sealed, identity)
    const admission = { agent, key, recipient, host, secretHash, role: null, orchestrator, lifetimeMs }
    return await this.#parts.store.admitWorker(admission)
  }
}

export interface PlainWorker {
  readonly agent: string
  readonly role: string
}

/** What a round at the git remote found and did. */
export interface Publication {
  readonly admitted: readonly string[]
  readonly refused: readonly string[]
  /** The names of files in the folder of credentials that are not ours. */
  readonly foreign: readonly string[]
  /** Workers whose credential lies there as anybody can read it: they have not joined by keys. */
  readonly plain: readonly PlainWorker[]
  /** The branch did not hold what this program had last made it hold: somebody else had written. */
  readonly wasAltered: boolean
}

type JoinedWorker = Worker & { readonly conversation: string; readonly key: string; readonly recipient: string }

/** What a round finds. */
interface FleetView {
  readonly workers: readonly JoinedWorker[]
  readonly access: BridgeAccess
  readonly conversations: ReadonlyMap<string, Conversation>
  /** The orchestrator's ends that are in force on this host. */
  readonly ownEnds: ReadonlyMap<SessionId, Credential>
}

function isJoined(worker: Worker): worker is JoinedWorker {
  const { conversation, key, recipient, revokedAt } = worker
  return conversation !== null && key !== null && recipient !== null && revokedAt === null
}

/** The credentials that the workers shall have. */
function wantedRegistry(workers: readonly JoinedWorker[]): string {
  return registryOf(workers.map((worker) => ({ worker, serial: worker.serial })))
}

/** Which credential each worker shall have, or has in the branch. */
function registryOf(entries: readonly { readonly worker: JoinedWorker; readonly serial: number }[]): string {
  return JSON.stringify(entries.map(({ worker: { agent, key }, serial }) => [agent, key, serial]))
}

function entriesOf(files: readonly IssuedFile[]): Manifest['files'] {
  return files.map(({ worker, path, content }) => entryFor(path, worker.key, worker.published, content))
}

function isSameListing(present: Manifest, files: readonly IssuedFile[]): boolean {
  const names = (entries: Manifest['files']): string =>
    JSON.stringify(entries.map((each) => [each.path, each.key, each.sha256]).sort())
  return names(present.files) === names(entriesOf(files))
}

/** Whether a file is a plain credential of the version before, or of scripts. */
function holdsPlainToken(content: Uint8Array | null): boolean {
  try {
    const fields: unknown = JSON.parse(Buffer.from(content ?? []).toString('utf8'))
    return typeof fields === 'object' && fields !== null && 'worker_token' in fields
  } catch {
    return false
  }
}

function manifestOrNull(content: Uint8Array, key: string): Manifest | null {
  try {
    return readManifest(content, key)
  } catch {
    return null // not ours: it is written anew
  }
}
