import type { Worker } from '#fleet/worker.ts'
import type { InvitationRow, JoinRequestRow, WorkerRows } from '../worker-registry.ts'

/** The registry of workers, in memory. */
export class MemoryWorkerRows implements WorkerRows {
  readonly #workers = new Map<string, Worker>()
  readonly #files = new Map<string, string>()
  readonly #invitations = new Map<string, InvitationRow>()
  readonly #requests = new Map<string, JoinRequestRow>()

  workers(): Worker[] {
    return [...this.#workers.values()].sort((one, other) => (one.agent < other.agent ? -1 : 1))
  }

  putWorker(worker: Worker): void {
    this.#workers.set(worker.agent, Object.freeze({ ...worker }))
  }

  removeWorker(agent: string): void {
    this.#workers.delete(agent)
    this.#files.delete(agent)
  }

  file(agent: string): string | null {
    return this.#files.get(agent) ?? null
  }

  putFile(agent: string, file: string | null): void {
    if (file === null) this.#files.delete(agent)
    else this.#files.set(agent, file)
  }

  invitation(secretHash: string): InvitationRow | null {
    return this.#invitations.get(secretHash) ?? null
  }

  putInvitation(invitation: InvitationRow): void {
    this.#invitations.set(invitation.secretHash, invitation)
  }

  requests(): JoinRequestRow[] {
    return [...this.#requests.values()]
  }

  putRequest(request: JoinRequestRow): void {
    this.#requests.set(request.id, request)
  }

  removeRequest(id: string): void {
    this.#requests.delete(id)
  }

  forgetInvitations(before: number): void {
    for (const { secretHash, endsAt } of this.#invitations.values())
      if (endsAt < before) this.#invitations.delete(secretHash)
  }

  removeUnusedInvitations(agent: string): void {
    for (const invitation of this.#invitations.values())
      if (invitation.agent === agent && invitation.usedBy === null) this.#invitations.delete(invitation.secretHash)
  }

  removeInvitations(agent: string): void {
    for (const invitation of this.#invitations.values())
      if (invitation.agent === agent) this.#invitations.delete(invitation.secretHash)
  }
}
