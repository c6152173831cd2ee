import { NamePatterns } from './name-patterns.ts'
import { foldName, isMeant, type PathGlob, type Segment } from './path-glob.ts'

/** A name of a glob, the gap that `**` is, or its end. */
type Token = Segment | 'gap' | 'end'

/**
 * What is still possible in a folder, and in all that are like it: the places that the globs have come to there. A place is the index of a
 * token that comes next. Which globs mean a file of it depends on its name alone, so nothing above the file is looked at again.
 */
interface Folder {
  readonly places: readonly number[]
  readonly folders: Map<string, Folder>
  /** The globs that mean all that lies here. */
  readonly all: readonly number[]
  /** Those that mean a name, and those that mean all that a pattern does. */
  readonly byName: ReadonlyMap<string, readonly number[]>
  readonly byPattern: NamePatterns
}

/**
 * Which of many globs mean a file: the same as `overlap` says of each, for very many files. The globs are one automaton of the names
 * of a path; each folder is gone through once, and a file costs a look at its name by the patterns that are possible in its folder. Nothing
 * is tried twice, so no glob makes it slow.
 */
export class PathMatcher {
  readonly #tokens: Token[] = []
  /** Which glob a token is of, and whether it may be the last: what follows it may be nothing. */
  readonly #globOf: number[] = []
  readonly #mayEnd: boolean[] = []
  /** By their places: many folders are alike. */
  readonly #folders = new Map<string, Folder>()
  readonly #root: Folder

  constructor(globs: readonly PathGlob[]) {
    const starts = globs.map((glob, index) => this.#take(glob, index))
    this.#root = this.#folder(starts)
  }

  /** The indexes of the globs that mean this file, ascending; the same list for many files, where they are the same globs. */
  meaning(path: string): readonly number[] {
    const names = path.split('/')
    const name = foldName(names.pop() ?? '')
    let folder = this.#root
    for (const each of names) folder = this.#enter(folder, each)
    const { all, byName, byPattern } = folder
    const more = [...(byName.get(name) ?? []), ...byPattern.meaning(name)]
    return more.length === 0 ? all : [...new Set([...all, ...more])].sort((one, other) => one - other)
  }

  /** Answers the place at which the glob begins. */
  #take({ path }: PathGlob, glob: number): number {
    const start = this.#tokens.length
    const tokens: Token[] = [
      ...path.flatMap((piece, at) => [...(at === 0 ? [] : ['gap' as const]), ...Array.from(piece)]),
      'end',
    ]
    const lastName = tokens.findLastIndex((token) => typeof token !== 'string')
    for (const [at, token] of tokens.entries()) {
      this.#tokens.push(token)
      this.#globOf.push(glob)
      this.#mayEnd.push(at >= lastName && token !== 'end')
    }
    return start
  }

  #enter(folder: Folder, name: string): Folder {
    const known = folder.folders.get(name)
    if (known !== undefined) return known
    const folded = foldName(name)
    const next = folder.places.flatMap((place) => {
      const token = this.#tokens[place] as Token
      if (token === 'gap') return [place]
      const isOver = token === 'end' || this.#tokens[place + 1] === 'end' // it means a file, and this is a folder
      return !isOver && isMeant(token, folded) ? [place + 1] : []
    })
    const made = this.#folder(next)
    folder.folders.set(name, made)
    return made
  }

  #folder(reached: readonly number[]): Folder {
    const places = this.#withGaps(reached)
    const key = places.join()
    const known = this.#folders.get(key) ?? this.#look(places)
    this.#folders.set(key, known)
    return known
  }

  #look(places: readonly number[]): Folder {
    const all: number[] = []
    const byName = new Map<string, number[]>()
    const byPattern = new NamePatterns()
    for (const place of places) {
      if (this.#mayEnd[place] !== true) continue
      const [token, glob] = [this.#tokens[place] as Segment | 'gap', this.#globOf[place] as number]
      if (token === 'gap') all.push(glob)
      else if (token.length === 1) listIn(byName, token[0] as string).push(glob)
      else byPattern.add(token, glob)
    }
    return { places, folders: new Map(), all: [...new Set(all)], byName, byPattern }
  }

  /**
   * A gap may be nothing, so what follows it is reached with it. What stands before the last gap that a glob has come to is left out: all that
   * it could come to is possible from the gap too.
   */
  #withGaps(reached: readonly number[]): number[] {
    const places = new Set<number>()
    const lastGap = new Map<number, number>()
    for (const start of reached) {
      let place = start
      while (this.#tokens[place] === 'gap') {
        places.add(place)
        const glob = this.#globOf[place] as number
        lastGap.set(glob, Math.max(place, lastGap.get(glob) ?? 0))
        place += 1
      }
      places.add(place)
    }
    return [...places]
      .filter((place) => place >= (lastGap.get(this.#globOf[place] as number) ?? 0))
      .sort((one, other) => one - other)
  }
}

function listIn(lists: Map<string, number[]>, name: string): number[] {
  const list = lists.get(name) ?? []
  lists.set(name, list)
  return list
}
