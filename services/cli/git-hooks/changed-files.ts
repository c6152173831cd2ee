import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { S2Error } from '#fleet/errors.ts'
import type { Checkout } from '#git/checkout.ts'

/** Of a renamed file both names are told, and of a removed one its name. */
const NAMES = ['--name-only', '-z', '--no-renames', '--no-ext-diff', '--ignore-submodules=none'] as const

/**
 * The files that the commit which is made now changes: what its index has otherwise than the commit before it. Of a merge only
 * what was changed by hand, since the rest was checked when it was committed. Throws `unavailable` where git does not say.
 */
export async function stagedFiles(checkout: Checkout): Promise<string[]> {
  const merged = headsOfMerge(checkout)
  const head = await checkout.line('rev-parse', '-q', '--verify', 'HEAD^{commit}')
  if (head !== null && merged.length > 0)
    return await changedByHand(checkout, [head, ...merged], (tree) => staged(checkout, tree))
  return await staged(checkout, head ?? (await emptyTree(checkout)))
}

/** The tree that the index stands for, which becomes that of the commit. Throws `unavailable`. */
export async function stagedTree(checkout: Checkout): Promise<string> {
  return (await checkout.line('write-tree')) ?? unknown('which tree the index stands for')
}

/** A commit that was made. */
export interface MadeCommit {
  readonly commit: string
  readonly tree: string
  readonly parents: readonly string[]
}

/** The commit that HEAD is. Throws `unavailable`. */
export async function lastCommit(checkout: Checkout): Promise<MadeCommit> {
  const line = await checkout.line('log', '-1', '--no-show-signature', '--format=%H %T %P', 'HEAD')
  const [commit, tree, ...parents] = line?.trim().split(' ') ?? []
  if (commit === undefined || tree === undefined) return unknown('which commit was made')
  return { commit, tree, parents }
}

/** The files that it changes, and where it takes the place of another one only what differs from that. Throws `unavailable`. */
export async function filesOfCommit(checkout: Checkout, { commit, parents }: MadeCommit): Promise<string[]> {
  const compare = (tree: string): Promise<string[]> => between(checkout, tree, commit)
  if (parents.length > 1) return await changedByHand(checkout, parents, compare)
  return await compare((await replacedBy(checkout, parents)) ?? parents[0] ?? (await emptyTree(checkout)))
}

/** The commit that was amended: it came right before, and has the same parent. */
async function replacedBy(checkout: Checkout, [parent]: readonly string[]): Promise<string | null> {
  const before = await checkout.line('rev-parse', '-q', '--verify', 'HEAD@{1}^{commit}')
  if (before === null || before === parent) return null
  const its = await checkout.line('rev-parse', '-q', '--verify', `${before}^1`)
  return its === (parent ?? null) ? before : null
}

/**
 * What differs from the merge that git makes by itself: resolved conflicts, and what was changed besides. Where git cannot make it
 * (before 2.38, or of more than two), what differs from all that was merged.
 */
async function changedByHand(
  checkout: Checkout,
  heads: readonly string[],
  compare: (tree: string) => Promise<string[]>,
): Promise<string[]> {
  const [one = '', other = ''] = heads
  const made = heads.length === 2 ? await checkout.askEither('merge-tree', '--write-tree', one, other) : null
  const tree = /^[0-9a-f]{40,64}/.exec(made?.toString('latin1') ?? '')?.[0]
  if (tree !== undefined) return await compare(tree)
  const changes = await Promise.all(heads.map(compare))
  return (changes[0] ?? []).filter((path) => changes.every((each) => each.includes(path)))
}

async function staged(checkout: Checkout, tree: string): Promise<string[]> {
  return (await checkout.files('diff-index', '--cached', ...NAMES, tree, '--')) ?? unknown('what is to be committed')
}

async function between(checkout: Checkout, tree: string, commit: string): Promise<string[]> {
  return (await checkout.files('diff-tree', '-r', ...NAMES, tree, commit, '--')) ?? unknown('what was committed')
}

async function emptyTree(checkout: Checkout): Promise<string> {
  return (await checkout.line('hash-object', '-t', 'tree', '/dev/null')) ?? unknown('what an empty tree is called')
}

function headsOfMerge({ gitFolder }: Checkout): string[] {
  try {
    return readFileSync(join(gitFolder, 'MERGE_HEAD'), 'latin1')
      .split('\n')
      .filter((line) => /^[0-9a-f]{40,64}$/.test(line))
  } catch {
    return []
  }
}

function unknown(what: string): never {
  throw new S2Error('unavailable', `git does not say ${what}`, {
    next: 'run `git status` there, and see to what it says',
  })
}
