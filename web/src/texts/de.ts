/** Every text of the page, in German. */
import type { Fault } from "../limits";
import type { Texts } from "./en";

const n = (count: number, one: string, many: string) => `${count} ${count === 1 ? one : many}`;
const megabytes = (bytes: number) => `${(bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0).replace(".", ",")} MB`;

export const de: Texts = {
  title: "Bilder",
  sort: "Reihenfolge",
  top: "Beliebt",
  newest: "Neu",
  newPost: "Neuer Beitrag",
  signIn: "Anmelden",
  signOut: "Abmelden",
  cancel: "Abbrechen",
  close: "Schließen",
  save: "Speichern",
  edit: "Bearbeiten",
  delete: "Löschen",
  remove: "Entfernen",
  send: "Senden",
  post: "Veröffentlichen",
  pause: "Anhalten",
  resume: "Fortsetzen",
  again: "Erneut versuchen",
  caption: "Bildunterschrift",
  alt: "Alternativtext",
  altHint: "Was man jemandem darüber sagen würde, der es nicht sehen kann.",
  imageBy: (name: string) => `Bild von ${name}`,
  edited: "bearbeitet",

  showMore: "Mehr zeigen",
  loading: "Wird geladen",
  end: "Das war alles.",
  nothingYet: "Noch hat niemand etwas gezeigt. Machen Sie den Anfang: Neuer Beitrag.",
  feedFailed: "Die Bilder konnten nicht geladen werden. Prüfen Sie die Verbindung und versuchen Sie es erneut.",

  comments: (count: number) => `Kommentare (${count})`,
  commentList: "Kommentare",
  comment: "Kommentar",
  commentHint: "Schreiben Sie etwas zu diesem Bild",
  noComments: "Noch keine Kommentare.",
  olderComments: "Ältere Kommentare zeigen",
  commentsFailed: "Die Kommentare konnten nicht geladen werden. Versuchen Sie es erneut, wenn Sie online sind.",
  postGone: "Dieses Bild gibt es nicht mehr. Schließen Sie es, um zu den anderen zurückzukehren.",
  previous: "Voriges Bild",
  next: "Nächstes Bild",
  editComment: "Kommentar bearbeiten",
  deleteComment: "Diesen Kommentar löschen?",
  deletePost: "Dieses Bild löschen?",
  deletePostHint: "Seine Kommentare werden mitgelöscht. Das lässt sich nicht rückgängig machen.",
  editPost: "Beitrag bearbeiten",

  images: "Bilder",
  chooseImages: "Wählen Sie Bilder aus, ziehen Sie sie auf die Seite, oder fügen Sie sie ein.",
  removeImage: (name: string) => `${name} entfernen`,
  noPreview: "Dieser Browser kann keine Vorschau zeigen. Veröffentlichen lässt sich das Bild trotzdem.",
  smaller: "Kleiner (2048 px)",
  smallerSaves: (bytes: number) => `Spart ${megabytes(bytes)} Ihrer Daten.`,
  smallerNothing: "Es würde nicht kleiner; das Bild wird gesendet, wie es ist.",
  smallerFailed: "Dieser Browser kann es nicht verkleinern; das Bild wird gesendet, wie es ist.",
  working: "Wird verkleinert",
  refusedSome: "Entfernen oder ändern Sie, was markiert ist, dann veröffentlichen Sie.",
  fault: (fault: Fault): string => {
    switch (fault.is) {
      case "empty":
        return "Diese Datei ist leer. Wählen Sie eine andere.";
      case "unreadable":
        return "Der Browser kann diese Datei nicht mehr lesen. Wählen Sie sie noch einmal aus.";
      case "format":
        return "Das ist kein Bild, das sich veröffentlichen lässt. Wählen Sie JPEG, PNG, WebP, GIF, BMP, HEIC oder AVIF.";
      case "bytes":
        return `Diese Datei ist zu groß: höchstens ${megabytes(fault.max)} sind möglich.`;
      case "pixels":
        return `Dieses Bild hat zu viele Bildpunkte: höchstens ${Math.floor(fault.max / 1e6)} Megapixel sind möglich. Wählen Sie „Kleiner“ oder ein anderes.`;
      case "long":
        return `Höchstens ${fault.max} Zeichen; dies sind ${fault.has}.`;
      case "control":
        return "Darin ist ein Zeichen, das sich nicht anzeigen lässt. Tippen Sie es neu.";
    }
  },
  storageFull: "Auf diesem Gerät ist kein Platz mehr, um es bis zum Senden aufzuheben. Schaffen Sie Platz und versuchen Sie es erneut.",
  fileUnreadable: "Der Browser kann diese Datei nicht mehr lesen. Wählen Sie sie noch einmal aus.",
  notKept: "Dieser Browser kann es bis zum Senden nicht aufheben. Verlassen Sie das private Fenster und versuchen Sie es erneut.",

  name: "Name",
  nameHint: "Auf diesem Rechner ist jeder, wer er sagt.",
  token: "Token",
  tokenHint: "Sie bekommen eines von dem, der diesen Dienst betreibt: image-poster token IHR-NAME.",
  goToIssuer: (host: string) => `Weiter bei ${host}`,
  signInRefused: "Das wurde nicht angenommen. Prüfen Sie es, oder bitten Sie um ein neues.",
  nameRefused: "Dieser Name geht nicht. Nehmen Sie 1 bis 128 druckbare Zeichen.",
  signInUnreachable: "Der Dienst ist nicht erreichbar. Versuchen Sie es erneut, wenn Sie online sind.",
  signedInAs: (name: string) => `Angemeldet als ${name}`,
  signOutWaiting: (count: number) =>
    `${n(count, "Eintrag von Ihnen ist", "Einträge von Ihnen sind")} noch nicht gesendet. Sie bleiben auf diesem Gerät und werden gesendet, wenn Sie sich wieder anmelden.`,
  signOutQuestion: "Abmelden?",

  uploads: "Uploads",
  waitingRegion: "Noch nicht gesendet",
  progressOf: (name: string) => `Fortschritt von ${name}`,
  stateWaiting: "Wartet",
  stateWaitingFor: (name: string) => `Wartet, bis ${name} sich anmeldet`,
  stateOffline: "Wartet auf eine Verbindung",
  stateReserving: "Beginnt",
  stateUploading: (percent: number) => `Wird hochgeladen, ${percent} %`,
  stateRetrying: (seconds: number) => `Neuer Versuch in ${seconds} s`,
  stateProcessing: "Wird verarbeitet",
  stateRemoving: "Wird entfernt",
  statePaused: "Angehalten",
  stateFailed: (why: string) => `Fehlgeschlagen: ${why}`,
  stateOld: "Dies wurde vor über sechs Tagen zuerst gesendet und ist vielleicht angekommen. Sehen Sie erst nach, dann senden Sie es erneut oder entfernen es.",
  stateConflict: "Jemand hat dies geändert, während Ihre Änderung unterwegs war. Welche soll bleiben?",
  sendAgain: "Erneut senden",
  mine: "Ihre",
  theirs: "Was jetzt da steht",
  useMine: "Meine nehmen",
  keepTheirs: "Jene behalten",
  waitingComment: (text: string) => `Kommentar: ${text}`,
  waitingEdit: (text: string) => `Änderung: ${text}`,
  waitingDeletion: "Löschen eines Bildes",
  waitingCommentDeletion: "Löschen eines Kommentars",

  offline: "Sie sind offline. Hier steht, was Sie zuletzt gesehen haben.",
  offlineWaiting: (count: number) => `Offline: ${count} warten`,
  sending: (count: number) => `Wird gesendet: ${count} warten`,
  signInAgain: (count: number) => `Melden Sie sich wieder an, damit es weitergeht: ${count} warten`,
  donePost: "Ihr Bild ist veröffentlicht.",
  doneComment: "Ihr Kommentar ist gesendet.",
  doneEdit: "Ihre Änderung ist gespeichert.",
  doneDeletion: "Es ist gelöscht.",
  goneMeanwhile: "Es war inzwischen gelöscht worden; geändert wurde nichts.",
  failedSome: "Etwas wurde nicht angenommen. Sehen Sie in die Liste über den Bildern.",

  problems: {
    unreadable: "Der Browser kann dieses Bild nicht mehr lesen. Entfernen Sie es, und wählen Sie es noch einmal aus.",
    image_unreadable: "Das Bild ist beschädigt. Senden Sie es noch einmal, oder wählen Sie ein anderes.",
    image_unsupported: "Diese Art von Bild lässt sich nicht zeigen. Speichern Sie es in einem anderen Format.",
    image_too_large: "Das Bild hat zu viele Bildpunkte. Nehmen Sie ein kleineres.",
    upload_too_large: "Die Datei ist zu groß. Nehmen Sie eine kleinere.",
    unsupported_image: "Das ist kein Bild, das sich veröffentlichen lässt. Wählen Sie ein anderes.",
    post_not_found: "Dieses Bild gibt es nicht mehr. Entfernen Sie dies aus der Liste.",
    comment_not_found: "Diesen Kommentar gibt es nicht mehr. Entfernen Sie dies aus der Liste.",
    post_not_ready: "Das Bild ist noch nicht fertig. Versuchen Sie es gleich noch einmal.",
    not_yours: "Dies gehört jemand anderem. Entfernen Sie es aus der Liste.",
    page_error: "Auf dieser Seite ging etwas schief. Laden Sie sie neu, und versuchen Sie es erneut.",
  },
};
