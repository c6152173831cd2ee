import type { PrivateRepository } from './private-repository.ts'

/** Files by their path: their content, or null for one that is taken away. */
export type FileEdits = ReadonlyMap<string, string | null>

/** `ls-tree` without a place for content: mode, kind and object of each name. */
type Entries = Map<string, string>

/**
 * Makes a tree of another one by some files, and answers its id; null for one without entries. Only folders on the way to
 * those files are read. An index would hold every file of the branch, of which a few hundred bytes can name billions.
 */
export async function editTree(
  repository: PrivateRepository,
  tree: string | null,
  files: FileEdits,
): Promise<string | null> {
  const entries: Entries = tree === null ? new Map() : await entriesOf(repository, tree)
  for (const [name, content] of files) {
    if (name.includes('/')) continue
    if (content === null) entries.delete(name)
    else entries.set(name, `100644 blob ${await repository.line('storing a file', HASH_OBJECT, content)}`)
  }
  for (const [name, below] of foldersIn(files)) {
    const edited = await editTree(repository, treeIn(entries.get(name)), below)
    if (edited === null) entries.delete(name)
    else entries.set(name, `040000 tree ${edited}`)
  }
  if (entries.size === 0) return null
  const lines = [...entries].map(([name, entry]) => `${entry}\t${name}\0`).join('')
  return await repository.line('writing the tree', ['mktree', '-z'], Buffer.from(lines, 'latin1'))
}

const HASH_OBJECT = ['hash-object', '-w', '--stdin']

/**
 * Names are bytes, whatever they stand for. A folder with more entries than can be listed counts as empty: what lay in it stays
 * in the history of the branch, and no stranger can keep us from publishing there.
 */
async function entriesOf(repository: PrivateRepository, tree: string): Promise<Entries> {
  const listing = await repository.listing('reading the tree', ['ls-tree', '-z', tree])
  if (listing.isCut) return new Map()
  return new Map(
    listing.records.map((record) => {
      const at = record.indexOf('\t')
      return [record.slice(at + 1), record.slice(0, at)]
    }),
  )
}

function treeIn(entry: string | undefined): string | null {
  return /^040000 tree (\S+)$/.exec(entry ?? '')?.[1] ?? null
}

function foldersIn(files: FileEdits): Map<string, Map<string, string | null>> {
  const folders = new Map<string, Map<string, string | null>>()
  for (const [path, content] of files) {
    const at = path.indexOf('/')
    if (at === -1) continue
    const name = path.slice(0, at)
    const below = folders.get(name) ?? new Map<string, string | null>()
    folders.set(name, below.set(path.slice(at + 1), content))
  }
  return folders
}
