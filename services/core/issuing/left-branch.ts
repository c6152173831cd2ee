import type { FileEdits } from '#git/edit-tree.ts'
import type { BranchSnapshot } from '#git/git-publisher.ts'

/** How this program left the branch, to tell what somebody else changed there since; nothing is known before the first time. */
export class LeftBranch {
  #commit: string | null = null
  #files: FileEdits = new Map()

  leave(commit: string, files: FileEdits): void {
    this.#commit = commit
    this.#files = files
  }

  /** Whether what was left there is not there any more. `wanted` is no change: a push whose answer was lost has brought it. */
  async isAlteredIn(branch: BranchSnapshot, wanted: FileEdits): Promise<boolean> {
    if (this.#commit === null || branch.tip === this.#commit) return false
    for (const [path, content] of this.#files) {
      if (content === null) continue
      const present = (await branch.read(path))?.toString('utf8')
      if (present !== content && present !== wanted.get(path)) return true
    }
    return false
  }
}
